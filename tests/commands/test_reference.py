"""`--reference`: a profile and a model of the same or another format, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

import normdiag
from normdiag import DataOptions, LoadOptions, Profile
from normdiag.cli.app import run
from normdiag.errors import InputError, UsageError
from normdiag.profiles import write_profile
from tests.conftest import REPOSITORY
from tests.nets.digits import digits
from tests.profiles.profiles import profile as made_up

SCHEMA = json.loads((REPOSITORY / "docs" / "report.schema.json").read_text())
MODELS = ("digits_cnn_group.onnx", "digits_cnn_instance.onnx", "digits_transformer_rms.onnx", "digits_cnn_folded.onnx")


def of(samples: Path, name: str, data: str = "digits_train.npz") -> Profile:
    return normdiag.profile(samples / name, data=[str(samples / data)])


def inspected(samples: Path, name: str, reference: Profile | Path, **options: object) -> normdiag.Report:
    data = DataOptions(**options)  # type: ignore[arg-type]
    return normdiag.inspect(samples / name, data=[str(samples / "digits.npz")], data_options=data, reference=reference)


@pytest.mark.parametrize("name", MODELS)
def test_held_out_data_is_as_in_the_reference_and_wrongly_prepared_data_is_not(name: str, samples: Path) -> None:
    reference = of(samples, name)
    right = inspected(samples, name, reference)
    assert right.reference is not None and len(right.reference.points) == len(reference.points)
    assert not right.diagnosis and right.verdict == "ok"
    wrong = inspected(samples, name, reference, preprocess="signed")
    assert wrong.verdict == "problem" and wrong.diagnosis[0].cause == "input_preparation"
    assert wrong.diagnosis[0].remedy.option == "unit"
    assert "of_statistics" not in wrong.diagnosis[0].evidence


def test_a_folded_export_beside_a_profile_of_the_checkpoint(samples: Path) -> None:
    load = LoadOptions(arch=f"{samples / 'net.py'}:DigitsCNN")
    train = [str(samples / "digits_train.npz")]
    reference = normdiag.profile(samples / "digits_cnn.pt", data=train, load_options=load)
    found = inspected(samples, "digits_cnn_folded.onnx", reference).reference
    assert found is not None and not found.unmatched
    assert [(each.point.name, each.reference.name) for each in found.at("activation")] == [
        (f"relu{i}", f"relu{i}") for i in (1, 2, 3)
    ]
    assert [each.name for each in found.missing] == ["norm1", "norm2", "norm3"]
    assert all(each.drift.lower < 0.05 for each in found.points)


def test_transposed_images_have_the_input_of_the_reference_and_not_its_layers(samples: Path) -> None:
    reference = of(samples, "digits_cnn_group.onnx")
    x = digits()[0].swapaxes(2, 3)
    report = normdiag.inspect(samples / "digits_cnn_group.onnx", np.ascontiguousarray(x), reference=reference)
    assert report.diagnosis[0].cause == "domain_shift"
    assert report.diagnosis[0].layers[0] == "norm1"


def test_a_reference_clears_the_data_where_batch_norm_alone_could_not(samples: Path) -> None:
    """Statistics of another network: the data is as it was, so that it is not to blame."""
    load = LoadOptions(arch=f"{samples / 'net.py'}:DigitsCNN")
    data = [str(samples / "digits.npz")]
    path = samples / "digits_cnn_averaged.pt"
    reference = normdiag.profile(path, data=[str(samples / "digits_train.npz")], load_options=load)
    report = normdiag.inspect(path, data=data, load_options=load, reference=reference)
    assert report.diagnosis and all(
        each.cause not in ("input_preparation", "domain_shift") for each in report.diagnosis
    )


def test_a_live_module_is_compared_and_left_as_it_is(samples: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    x = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    reference = normdiag.profile(net, x[:300])
    assert not normdiag.inspect(net, x[300:], reference=reference).diagnosis
    assert normdiag.inspect(net, x[300:] * 3, reference=reference).diagnosis


@pytest.fixture
def folder(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_profile(of(samples, "digits_cnn_group.onnx"), tmp_path / "train.profile")
    (tmp_path / "net.onnx").write_bytes((samples / "digits_cnn_group.onnx").read_bytes())
    (tmp_path / "val.npz").write_bytes((samples / "digits.npz").read_bytes())
    return tmp_path


def test_check_takes_it_from_the_configuration(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = '[models."*.onnx"]\ndata = "val.npz"\nreference = "train.profile"\n'
    (folder / "normdiag.toml").write_text(settings)
    assert run(["check", "net.onnx", "--quiet"]) == 0
    assert run(["check", "net.onnx", "--quiet", "--fail-on", "warning", "--preprocess", "raw"]) == 1
    assert "ND309" in capfd.readouterr().out
    assert run(["check", "--show-config"]) == 0
    assert 'reference = "train.profile"' in capfd.readouterr().out


def test_json_follows_the_published_schema(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["net.onnx", "--data", "val.npz", "--reference", "train.profile", "--json", "--quiet"]
    assert run(["inspect", *arguments, "--no-config"]) == 0
    document = json.loads(capfd.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    points = document["reference"]["points"]
    assert [each["role"] for each in points] == ["input", *["norm", "activation"] * 3, "output"]
    assert document["verdict"] == "ok" and "drift" in document["measured"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "train.profile"], "--reference does nothing without --data"),
        (["--reference", "train.profile", "--data", "random"], "give data with --data"),
        (["--reference", "none.profile", "--data", "val.npz"], "none.profile: no such file"),
        (
            ["--reference", "val.npz", "--data", "val.npz"],
            "--reference: neither a profile nor weights: val.npz: is a NumPy",
        ),
        (["--reference", "other.profile", "--data", "val.npz"], "other.profile: no point of it"),
        (["--reference", "train.profile", "--data", "val.npz", "-o", "train.profile"], "would overwrite what is read"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_profile(made_up(), folder / "other.profile")
    assert run(["inspect", "net.onnx", *arguments, "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and message in err


def test_from_python_it_needs_data(samples: Path) -> None:
    with pytest.raises(UsageError, match="give data with --data"):
        normdiag.inspect(samples / "digits_cnn_group.onnx", reference=made_up())
    with pytest.raises(InputError, match="the reference: no point of it"):
        normdiag.inspect(samples / "digits_cnn_group.onnx", data=[str(samples / "digits.npz")], reference=made_up())
