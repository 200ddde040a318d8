"""`normdiag preprocess` on models whose preparation is known."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

import normdiag
from normdiag import DataOptions
from normdiag.cli.app import run
from normdiag.errors import InputError, UsageError
from normdiag.records.document import Paragraph
from normdiag.records.preparation import PreparationReport
from normdiag.render.text import render_text
from normdiag.report.preprocess import preprocess_document
from sample_models.net import DigitsCNN
from tests.nets.resnet20 import MEAN, STD, load_resnet20

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY.parent / "shared" / "real"
SCHEMA = json.loads((REPOSITORY / "docs" / "preprocess.schema.json").read_text())


def text(report: PreparationReport, width: int = 100) -> str:
    return render_text(preprocess_document(report), width=width, color=False)


def commands(report: PreparationReport) -> list[str]:
    """What is printed to be pasted."""
    blocks = (block for section in preprocess_document(report).sections for block in section.blocks)
    paragraphs = (block for block in blocks if isinstance(block, Paragraph))
    return [phrase.text for each in paragraphs for phrase in each.phrases if phrase.role == "command"]


def options(report: PreparationReport) -> list[str]:
    return [each.option for each in report.found.ranking]


def test_digits_are_divided_by_their_range(samples: Path) -> None:
    report = normdiag.preprocess(samples / "digits_cnn.onnx", data=[str(samples / "digits.npz")])
    assert report.found.best == "unit" == report.found.ranking[0].option
    assert report.found.layers == ("norm1", "norm2", "norm3")
    assert "The stored statistics belong to --preprocess unit" in text(report)
    jsonschema.validate(json.loads(report.to_json()), SCHEMA)
    assert max(map(len, text(report, 60).splitlines())) <= 60


def test_the_one_in_use_is_kept_where_it_fits_as_well(samples: Path) -> None:
    raw = DataOptions(preprocess="raw")
    report = normdiag.preprocess(samples / "digits_cnn.onnx", data=[str(samples / "digits.npz")], data_options=raw)
    assert report.found.best == "unit"


def digits(samples: Path) -> np.ndarray:
    """(N, 8, 8), 0..255."""
    return np.load(samples / "digits.npz")["x"].reshape(-1, 8, 8)


def test_values_that_nobody_lists_are_stretched_to_what_is_listed(samples: Path) -> None:
    odd = digits(samples)[:, None] / np.float32(255) * 3.7 - 1.9
    report = normdiag.preprocess(samples / "digits_cnn.onnx", odd)
    first = report.found.ranking[0]
    assert report.found.best == "scale=1,mean=-1.9,std=3.7" == first.option
    assert first.meaning == "ends taken for black and white, 0..1" and not first.listed
    dark = normdiag.preprocess(samples / "digits_cnn.onnx", (0.6 * digits(samples)).astype(np.uint8))
    assert dark.found.best == "mean=0,std=0.6"


def test_what_is_fitted_is_shown_and_never_named_best(samples: Path) -> None:
    odd = digits(samples)[:, None] / np.float32(255) * 3.7 - 1.9
    odd[::8, 0, 0, 0] = 6.0  # so that the ends of the values are not those of the images
    report = normdiag.preprocess(samples / "digits_cnn.onnx", odd)
    first = report.found.ranking[0]
    assert first.numbers_from == "statistics" and first.meaning.endswith("fitted to norm1")
    assert report.found.best is None and report.found.fitting == (first.option,)
    assert " nearest" in text(report) and "fits as well" not in text(report)
    assert "is not surely right" in text(report) and "makes up for other things" in " ".join(text(report).split())


@pytest.mark.parametrize("stored", ["as they are", "inverted"])
def test_the_listed_one_that_is_nearest_to_one_that_is_not_is_no_best(samples: Path, stored: str) -> None:
    net = DigitsCNN().eval()
    net.load_state_dict(torch.load(samples / "digits_cnn.pt", weights_only=True))
    with torch.no_grad():  # trained on images of 0..0.88
        net.conv1.weight.div_(0.88)
    images = digits(samples) if stored == "as they are" else 255 - digits(samples)
    found = normdiag.preprocess(net, images).found
    assert found.best is None
    assert {found.row(each).numbers_from for each in found.fitting} >= {"statistics"}


@pytest.mark.parametrize("changed", ["resized by way of more pixels", "clipped", "compressed"])
def test_a_scale_that_makes_up_for_what_was_done_to_images_is_not_named(samples: Path, changed: str) -> None:
    """The fit leaves hardly any drift, changes no answers and predicts sharply: nothing but the right one tells."""
    images = digits(samples)
    if changed == "clipped":
        stored = np.clip(images * 1.8, 0, 255).astype(np.uint8)
    else:
        change = _resized if "resized" in changed else _compressed
        stored = np.stack([np.asarray(change(each)) for each in images])
    found = normdiag.preprocess(samples / "digits_cnn.onnx", stored).found
    assert found.best is None and found.ranking[0].numbers_from == "statistics"
    assert found.ranking[0].drift < 0.13 and (found.ranking[0].answers_changed or 0.0) < 0.05


def _resized(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.kron(image, np.ones((2, 2))).astype(np.uint8)).resize((8, 8), Image.Resampling.BILINEAR)


def _compressed(image: np.ndarray) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=8)
    return Image.open(buffer)


def test_statistics_of_something_else_fit_nothing(samples: Path) -> None:
    net = DigitsCNN().eval()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator).mul_(3)
            module.running_var.uniform_(0.01, 9.0, generator=generator)
    report = normdiag.preprocess(net, data=[str(samples / "digits.npz")])
    assert report.found.best is None and "None of these preparations fits" in text(report)


def test_models_without_statistics_are_refused(samples: Path) -> None:
    with pytest.raises(InputError, match="no running statistics"):
        normdiag.preprocess(samples / "digits_cnn_group.onnx", data=[str(samples / "digits.npz")])
    with pytest.raises(UsageError, match="random"):
        normdiag.preprocess(samples / "digits_cnn.onnx", data=["random"])
    with pytest.raises(UsageError, match="--data"):
        normdiag.preprocess(samples / "digits_cnn.onnx")


def test_inspect_takes_what_is_found(samples: Path) -> None:
    auto = DataOptions(preprocess="auto")
    report = normdiag.inspect(samples / "digits_cnn.onnx", data=[str(samples / "digits.npz")], data_options=auto)
    assert report.data is not None and report.data.preprocess == "unit"
    assert any(note.startswith("--preprocess auto: unit") for note in report.notes)
    assert not any("not surely" in note for note in report.notes)
    with pytest.raises(UsageError, match="from Python"):
        normdiag.inspect(samples / "digits_cnn.onnx", np.zeros((4, 1, 8, 8), np.float32), data_options=auto)


def test_inspect_takes_nothing_that_may_make_up_for_something_else(samples: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", x=np.stack([np.asarray(_resized(each)) for each in digits(samples)])[:, None])
    auto = DataOptions(preprocess="auto")
    report = normdiag.inspect(samples / "digits_cnn.onnx", data=[str(tmp_path / "small.npz")], data_options=auto)
    assert report.data is not None and report.data.preprocess == "unit (default for 8-bit data)"
    (note,) = (note for note in report.notes if note.startswith("--preprocess auto"))
    assert "may make up for something else; the default, unit, is used" in note


def test_inspect_takes_the_first_that_fits_but_says_that_it_is_not_sure(samples: Path, tmp_path: Path) -> None:
    mirrored = np.ascontiguousarray(digits(samples)[:, None, :, ::-1]).astype(np.float32)  # 0..255: the default is raw
    np.savez(tmp_path / "mirrored.npz", x=mirrored)
    auto = DataOptions(preprocess="auto")
    report = normdiag.inspect(samples / "digits_cnn.onnx", data=[str(tmp_path / "mirrored.npz")], data_options=auto)
    (note,) = (note for note in report.notes if note.startswith("--preprocess auto"))
    assert note == "--preprocess auto: unit,scale=1/255, but not surely"
    assert report.data is not None and report.data.preprocess is not None
    assert report.data.preprocess.startswith("scale=0.00392156863")


def test_the_command(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["preprocess", str(samples / "digits_cnn.onnx"), "--data", str(samples / "digits.npz")]
    assert run(command) == 0
    assert "belong to --preprocess unit" in capsys.readouterr().out
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == "unit"
    assert run(["preprocess", str(samples / "digits_cnn.onnx")]) == 2
    assert "--data" in capsys.readouterr().err


@pytest.mark.skipif(not REAL.is_dir(), reason="the third-party models of ../shared/real are not there")
@pytest.mark.parametrize("stored", ["8-bit", "BGR, prepared"])
def test_resnet20_was_trained_on_images_prepared_as_for_imagenet(stored: str) -> None:
    net = load_resnet20(REAL / "akamaster" / "resnet20-12fca82f.th")
    images = REAL / "cifar10" / "train_1000.npz"
    if stored == "8-bit":
        report, expected = normdiag.preprocess(net, data=[str(images)]), "imagenet"
    else:
        unit = np.load(images)["x"][:256].transpose(0, 3, 1, 2).astype(np.float32) / 255
        report, expected = normdiag.preprocess(net, ((unit - MEAN) / STD)[:, ::-1].copy()), "raw,order=bgr"
    assert report.found.best == expected
    if stored == "8-bit":
        order = options(report)
        others = ("cifar", "cifar,std=0.2023:0.1994:0.2010", "imagenet,order=bgr", "signed", "unit", "raw")
        assert order[0] == "imagenet" and set(others) <= set(order)
        assert all(
            each.behind for each in report.found.ranking if each.option in ("imagenet,order=bgr", "signed", "unit")
        )


@pytest.mark.parametrize("in_use", ["stretched", "with borders"])
def test_wide_images_whose_centre_the_network_was_trained_on(samples: Path, tmp_path: Path, in_use: str) -> None:
    images = digits(samples)[:200]
    for index, digit in enumerate(images):
        wide = np.concatenate([np.roll(images, 1, 0)[index], digit, np.roll(images, -1, 0)[index]], 1)
        Image.fromarray(wide).save(tmp_path / f"{index:03}.png")
    used = {"stretched": None, "with borders": "unit,fit=pad"}[in_use]
    options = DataOptions(preprocess=used, resize=(8, 8))
    found = normdiag.preprocess(samples / "digits_cnn.onnx", data=[str(tmp_path)], data_options=options).found
    assert found.best == "unit,fit=crop", found.ranking[:4]
    centred = DataOptions(preprocess=found.best, resize=(8, 8))
    report = normdiag.inspect(samples / "digits_cnn.onnx", data=[str(tmp_path)], data_options=centred)
    assert report.verdict != "problem"


def test_the_command_that_is_printed_reads_the_same_images(samples: Path, tmp_path: Path) -> None:
    images = digits(samples)[:100]
    folder = tmp_path / "with a space"
    folder.mkdir()
    for index, digit in enumerate(images):
        Image.fromarray(digit).save(folder / f"{index:03}.png")
    sized = DataOptions(resize=(8, 8), grayscale=True)
    model = tmp_path / "cnn.onnx"
    model.write_bytes((samples / "digits_cnn.onnx").read_bytes())
    report = normdiag.preprocess(model, data=[str(folder)], data_options=sized)
    assert report.found.best == "unit"
    (command,) = commands(report)
    read = f"{model} --data '{folder}' --resize 8x8 --grayscale"
    assert command == f"normdiag inspect {read} --preprocess unit"
    assert run(shlex.split(command)[1:]) == 0
    array = images[:, None].astype(np.float32) / 255
    assert not commands(normdiag.preprocess(model, array))  # data from code has no name on a command line


def test_grey_images_of_8_bits_are_tried_in_all_preparations_wherever_they_come_from(samples: Path) -> None:
    data = samples / "digits.npz"
    images = digits(samples)
    given = normdiag.preprocess(samples / "digits_cnn.onnx", images)
    assert set(options(normdiag.preprocess(samples / "digits_cnn.onnx", data=[str(data)]))) <= set(options(given))
    assert given.found.best == "unit" and images.dtype == np.uint8


def test_of_sorted_data_samples_of_all_kinds_are_tried(samples: Path, tmp_path: Path) -> None:
    with np.load(samples / "digits.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez(tmp_path / "sorted.npz", x=x[np.argsort(y, kind="stable")])

    def drift(data_options: DataOptions) -> tuple[float, float]:
        report = normdiag.preprocess(
            samples / "digits_cnn.onnx", data=[str(tmp_path / "sorted.npz")], data_options=data_options
        )
        unit = next(each for each in report.found.ranking if each.option == "unit")
        return unit.drift, unit.drift_se

    least, error = drift(DataOptions())
    assert drift(DataOptions(shuffled=False))[0] > 1.3 * least
    assert drift(DataOptions(max_samples=32))[1] > 1.5 * error
