"""`normdiag.recalibrate` from end to end: files of every kind, live modules, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import normdiag
from normdiag import LoadOptions, RecalibrateOptions
from normdiag.errors import InputError, UsageError
from sample_models.net import DigitsCNN
from tests.nets.digits import digits, digits_cnn

SAMPLES = Path(__file__).parents[2] / "sample_models"
TRAIN, VALIDATION = str(SAMPLES / "digits_train.npz"), str(SAMPLES / "digits.npz")
ARCH = LoadOptions(arch=f"{SAMPLES / 'net.py'}:DigitsCNN")


def batches(size: int = 100) -> list[tuple[np.ndarray, np.ndarray]]:
    x, y = digits("digits_train")
    return [(x[at : at + size], y[at : at + size]) for at in range(0, len(x), size)]


def averaged() -> DigitsCNN:
    return digits_cnn("digits_cnn_averaged")


def run(name: str, tmp_path: Path, load: LoadOptions | None = None, **options: Any) -> normdiag.RecalibrationReport:
    source = SAMPLES / name
    return normdiag.recalibrate(
        source,
        output=tmp_path / f"out{source.suffix}",
        data=[TRAIN],
        eval_data=[VALIDATION],
        load_options=load,
        options=RecalibrateOptions(**options),
    ).report


def test_averaged_weights_get_their_accuracy_back(tmp_path: Path) -> None:
    report = run("digits_cnn_averaged.pt", tmp_path, ARCH)
    assert report.outcome == "recalibrated" and report.effect is not None and report.effect.accuracy is not None
    before, after = report.effect.accuracy
    assert before < 0.86 and after > 0.985
    old, new = torch.load(SAMPLES / "digits_cnn_averaged.pt"), torch.load(tmp_path / "out.pt")
    assert list(old) == list(new)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {f"norm{i}.running_{role}" for i in (1, 2, 3) for role in ("mean", "var")}


@pytest.mark.exports
@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("digits_cnn.pt", ARCH),
        ("digits_cnn.onnx", None),
        ("digits_cnn_module.pt", LoadOptions(trust=True)),
        ("digits_cnn.torchscript.pt", LoadOptions(trust=True)),
        ("digits_cnn.pt2", LoadOptions(trust=True)),
    ],
)
def test_what_is_right_is_copied(tmp_path: Path, name: str, load: LoadOptions | None) -> None:
    report = run(name, tmp_path, load)
    assert report.outcome == "already_right"
    assert (tmp_path / f"out{Path(name).suffix}").read_bytes() == (SAMPLES / name).read_bytes()


def test_a_training_mode_export_becomes_an_evaluation_mode_graph(tmp_path: Path) -> None:
    import onnx

    report = run("digits_cnn_training.onnx", tmp_path)
    assert report.outcome == "recalibrated"
    made = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(made)
    norms = [node for node in made.graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 3 and all(len(node.output) == 1 for node in norms)
    assert not any(each.name == "training_mode" and each.i for node in norms for each in node.attribute)
    one_by_one = normdiag.recalibrate(tmp_path / "out.onnx", data=[TRAIN], eval_data=[VALIDATION])
    assert one_by_one.report.effect is not None and one_by_one.report.effect.accuracy is not None
    assert one_by_one.report.effect.accuracy[0] > 0.98  # whatever else is in the batch


def test_a_live_module_is_left_as_it_is_unless_asked(tmp_path: Path) -> None:
    net = averaged()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = normdiag.recalibrate(net, batches())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    in_place = normdiag.recalibrate(net, batches(), in_place=True)
    assert in_place.report == result.report
    assert torch.equal(net.norm1.running_mean, result.model.norm1.running_mean)
    assert not torch.equal(net.norm1.running_mean, before["norm1.running_mean"])
    assert not net.training


def test_a_result_that_is_worse_is_not_written(tmp_path: Path) -> None:
    """Digits inverted and stretched: their statistics are not those of the data that the net is judged on."""
    x, _ = digits("digits_train")
    np.savez(tmp_path / "odd.npz", x=1 - 3 * x)
    arguments: dict[str, Any] = {"data": [str(tmp_path / "odd.npz")], "eval_data": [VALIDATION], "load_options": ARCH}
    report = normdiag.recalibrate(SAMPLES / "digits_cnn.pt", output=tmp_path / "o.pt", **arguments).report
    assert report.outcome == "worse" and report.written is None and not (tmp_path / "o.pt").exists()
    accepted = RecalibrateOptions(accept_worse=True)
    report = normdiag.recalibrate(
        SAMPLES / "digits_cnn.pt", output=tmp_path / "o.pt", options=accepted, **arguments
    ).report
    assert report.outcome == "worse" and report.written and (tmp_path / "o.pt").exists()


def test_few_samples_neither_contradict_nor_confirm(tmp_path: Path) -> None:
    x, y = digits("digits_train")
    report = normdiag.recalibrate(SAMPLES / "digits_cnn.onnx", [(x[:12], y[:12])], output=tmp_path / "o.onnx").report
    assert report.outcome == "undecided"
    assert (tmp_path / "o.onnx").read_bytes() == (SAMPLES / "digits_cnn.onnx").read_bytes()
    assert any("with few samples" in note for note in report.notes)


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    report = run("digits_cnn_averaged.pt", tmp_path, ARCH, layers=("norm[23]",))
    assert [each.layer for each in report.replaced] == ["norm2", "norm3"]
    assert report.layers[0].kept == "not among --layers"
    with pytest.raises(UsageError, match=r"--layers nobody: no layer with running statistics is called so"):
        normdiag.recalibrate(averaged(), batches(), options=RecalibrateOptions(layers=("nobody",)))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    report = run("digits_cnn_averaged.pt", tmp_path, ARCH, dry_run=True)
    assert report.outcome == "recalibrated" and report.written is None and not list(tmp_path.iterdir())


def test_the_tolerance_ends_the_measuring() -> None:
    stopped = normdiag.recalibrate(averaged(), batches(), options=RecalibrateOptions(tolerance=0.05)).report
    assert stopped.samples < 400 and stopped.needed is None
    assert max(each.error for each in stopped.layers) <= 0.05
    unreached = normdiag.recalibrate(averaged(), batches(), options=RecalibrateOptions(tolerance=0.001)).report
    assert unreached.samples + unreached.held_out == 1438 and unreached.needed is not None
    worst = max(each.error for each in unreached.layers)
    assert unreached.needed == pytest.approx(unreached.samples * (worst / 0.001) ** 2, rel=1e-3)


def test_a_share_of_the_stored_statistics_is_kept() -> None:
    net = averaged()
    stored = net.norm1.running_mean.double().numpy()
    new = {
        name: normdiag.recalibrate(net, batches(), options=RecalibrateOptions(**given)).statistics["norm1"].mean
        for name, given in {"all": {}, "keep": {"keep": 0.75}, "count": {"pseudo_count": 300.0}}.items()
    }
    np.testing.assert_allclose(new["keep"], 0.75 * stored + 0.25 * new["all"], rtol=1e-12)
    share = 300 / (300 + 1151)
    np.testing.assert_allclose(new["count"], share * stored + (1 - share) * new["all"], rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "give it with --data"),
        ({"data": [TRAIN], "batches": []}, UsageError, "not both"),
        ({"data": [TRAIN], "in_place": True}, UsageError, "in_place is for a live module"),
        ({"data": [TRAIN], "output": "x.onnx"}, UsageError, r"end the name with \.pt"),
        ({"data": [TRAIN]}, InputError, "--arch net.py:Net"),
    ],
)
def test_what_cannot_be_done(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        normdiag.recalibrate(SAMPLES / "digits_cnn.pt", **arguments)


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "digits_cnn_averaged.pt", tmp_path / "out.pt")
    with pytest.raises(UsageError, match="exists; --force replaces it"):
        run("digits_cnn_averaged.pt", tmp_path, ARCH)
    path = tmp_path / "out.pt"
    options = RecalibrateOptions(force=True)
    normdiag.recalibrate(path, output=path, data=[TRAIN], load_options=ARCH, options=options)  # into the very file
    assert not torch.equal(torch.load(path)["norm1.running_mean"], averaged().norm1.running_mean)


def test_a_model_without_statistics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to recalibrate: none of its 3 normalization layers has running"):
        normdiag.recalibrate(SAMPLES / "digits_cnn_group.onnx", data=[TRAIN])
    with pytest.raises(InputError, match=r"the exporter folded 3 BatchNorm .* optimize=False\), or recalibrate the ch"):
        normdiag.recalibrate(SAMPLES / "digits_cnn_folded.onnx", data=[TRAIN])
    with pytest.raises(InputError, match="nothing to recalibrate"):
        normdiag.recalibrate(torch.nn.Linear(64, 10), [np.zeros((20, 64), np.float32)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "fast"}, "precise or sequential"),
        ({"keep": 1.0}, "below 1"),
        ({"keep": 0.5, "pseudo_count": 3.0}, "give one"),
        ({"tolerance": 0.0}, "above 0"),
        ({"holdout": 1.0}, "between 0 and 0.9"),
        ({"pseudo_count": -1.0}, "number of samples"),
    ],
)
def test_options_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RecalibrateOptions(**given)
