"""The diagnosis of real runs: a healthy model, a wrong input, wrong statistics, copies of a few samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import normdiag
from normdiag.models import LoadOptions
from normdiag.records import Report

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
MODEL, DATA = SAMPLES / "digits_cnn.onnx", SAMPLES / "digits.npz"


def inspected(model: Path = MODEL, data: Path = DATA, preprocess: str | None = None) -> Report:
    return normdiag.inspect(model, data=[str(data)], data_options=normdiag.DataOptions(preprocess=preprocess))


def test_a_healthy_model_is_ok_and_its_samples_are_counted() -> None:
    report = inspected()
    assert report.verdict == "ok" and report.diagnosis == ()
    assert report.data is not None and report.data.distinct == report.data.samples == 359
    assert report.gap is not None and report.gap.classes == 10 and report.gap.answered is not None
    assert report.gap.answered > 9


@pytest.mark.parametrize("preprocess", ["raw", "signed"])
def test_a_wrong_input_is_named_with_the_option_that_undoes_it(preprocess: str) -> None:
    report = inspected(preprocess=preprocess)
    found = report.diagnosis[0]
    assert (report.verdict, found.cause, found.layers) == ("problem", "input_preparation", ("norm1",))
    assert found.severity == "error" and found.remedy.option == "unit"
    assert all(found.covers(each.rule, each.layers) for each in report.findings if each.severity != "info")


def test_the_command_reads_the_data_as_this_run_did(tmp_path: Path) -> None:
    with np.load(DATA) as arrays:
        for index, image in enumerate(arrays["x"][:200, 0]):
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{index}.png")
    options = normdiag.DataOptions(preprocess="raw", resize=8, crop=8, shuffled=False)
    found = normdiag.inspect(MODEL, data=[str(tmp_path)], data_options=options).diagnosis[0]
    fed = f"--data {tmp_path} --resize 8 --crop 8 --in-order --preprocess"
    assert found.remedy.command == f"normdiag inspect {MODEL} {fed} {found.remedy.option}"


def test_statistics_scaled_alike_are_another_convention(tmp_path: Path) -> None:
    proto = onnx.load(MODEL)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("running_var"):
            tensor.CopyFrom(numpy_helper.from_array(np.sqrt(numpy_helper.to_array(tensor)), tensor.name))
    path = tmp_path / "rooted.onnx"
    onnx.save(proto, path)
    report = inspected(path)
    assert report.diagnosis[0].cause == "wrong_convention"
    assert report.recalibration is not None and (report.recalibration.change.decided or 0) > 0
    assert report.diagnosis[0].remedy.command == f"normdiag recalibrate {path} --data train/ -o fixed.onnx"


def test_copies_of_a_few_samples_are_no_judgement(tmp_path: Path) -> None:
    with np.load(DATA) as arrays:
        np.savez(tmp_path / "few.npz", x=np.tile(arrays["x"][:6], (20, 1, 1, 1)))
    report = inspected(data=tmp_path / "few.npz")
    assert report.data is not None and report.data.distinct == 6
    assert "error" not in {each.severity for each in report.findings}


def test_instance_norms_that_run_on_averages_of_what_they_were_trained_on() -> None:
    options = LoadOptions(arch=f"{SAMPLES / 'net.py'}:DigitsCNN", arch_args=("norm=instance_stats",))
    report = normdiag.inspect(SAMPLES / "digits_cnn_instance_stats.pt", data=[str(DATA)], load_options=options)
    assert report.verdict == "problem" and report.gap is not None
    assert report.gap.top1_disagreement is not None and report.gap.top1_disagreement > 0.1
    (found,) = (each for each in report.diagnosis if each.severity != "info")
    assert (found.cause, found.remedy.action) == ("wrong_convention", "reexport")
    assert found.layers == ("norm1", "norm2", "norm3")
