"""Every command of the sample models' README runs, and shows what the README says that it shows."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from normdiag.cli.app import run
from sample_models import catalogue, digits, net
from sample_models.catalogue import SAMPLES, Sample

KINDS = {"group": "group_norm", "instance": "instance_norm", "layer": "layer_norm", "rms": "rms_norm"}

FOLDED = ["norm1", "norm2", "norm3"]


def inspect(row: Sample, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> Any:
    """The JSON report of the row's command, run where the README says, and the exit code."""
    patch.chdir(folder.parent)
    code = run([*shlex.split(row.command)[1:], "--json"])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    return code, json.loads(captured.out)


def kind_of(row: Sample) -> str:
    """The kind of normalization that the file's name gives away; batch norm where it says nothing."""
    return next((kind for word, kind in KINDS.items() if f"_{word}" in row.file), "batch_norm")


@pytest.mark.parametrize("row", SAMPLES, ids=[row.file + row.preprocess + str(row.batch) for row in SAMPLES])
def test_commands_show_what_the_readme_says(
    row: Sample, samples: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, report = inspect(row, samples, capsys, monkeypatch)
    errors = {finding["rule"] for finding in report["findings"] if finding["severity"] == "error"}
    assert code == (1 if errors else 0)
    if row.shows in ("stale statistics", "foreign statistics", "wrong scaling"):
        assert "ND301" in errors
    elif row.shows in ("healthy", "saturation"):
        assert not errors
    if "norms folded" in row.shows or "nothing in the file" in row.shows:
        assert report["verdict"] == "not_measured" and [each["name"] for each in report["folded"]] == FOLDED
    elif row.shows == "healthy":
        assert report["verdict"] == "ok"
    expected = 0 if "mlp_none" in row.file or "folded" in row.file else 5 if "transformer" in row.file else 3
    assert [layer["kind"] for layer in report["layers"]] == [kind_of(row)] * expected


@pytest.mark.parametrize("step", [100, 1000, 5000])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_saturation_of_the_paper_net(
    step: int, norm: str, samples: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in SAMPLES if row.file == f"digits_mlp_{norm}_{step:04d}.pt")
    _, report = inspect(row, samples, capsys, monkeypatch)
    module = catalogue.load_weights(row, samples / row.file)
    assert isinstance(module, net.DigitsMLP)
    x, _ = digits.load(samples / digits.VALIDATION)
    shown = [(layer["saturated_fraction"], layer["mean_squared_derivative"]) for layer in report["activations"]]
    for seen, expected in zip(shown, catalogue.saturation(module, x), strict=True):
        assert seen == pytest.approx(expected, rel=1e-5, abs=1e-9)
