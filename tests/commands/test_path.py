"""`normdiag history --path`: loss and accuracy on the straight line between two checkpoints."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import normdiag
from normdiag.cli.app import run
from normdiag.errors import InputError, UsageError
from normdiag.models import LoadOptions
from normdiag.records.path import PathPoint, PathReport
from normdiag.render.text import render_text
from normdiag.report.abridge import Detail
from sample_models import digits, fit
from sample_models.net import DigitsCNN, DigitsMLP, DigitsTransformer

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "history.schema.json").read_text())
MLP = LoadOptions(arch="sample_models/net.py:DigitsMLP", arch_args=("norm=batch",))


def judged(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Loss and accuracy by torch alone, in float64."""
    with torch.no_grad():
        scores = copy.deepcopy(net).double().eval()(x.double())
    return float(F.cross_entropy(scores, y)), float((scores.argmax(1) == y).double().mean())


def middle(a: nn.Module, b: nn.Module, t: float) -> nn.Module:
    net, one, two = copy.deepcopy(a), a.state_dict(), b.state_dict()
    net.load_state_dict({name: torch.lerp(one[name].double(), two[name].double(), t) for name in one})
    return net


@pytest.fixture(scope="module")
def trained(samples: Path) -> tuple[nn.Module, nn.Module]:
    """Two trainings of the same network from different seeds."""
    split = digits.load(samples / digits.TRAINING)
    one, two = (fit.fit(DigitsCNN, split, epochs=3, lr=0.01, seed=seed) for seed in (0, 1))
    return one, two


def test_the_ends_are_the_checkpoints_and_the_middle_lies_between_them(samples: Path) -> None:
    files = [samples / f"digits_mlp_batch_{step}.pt" for step in ("0100", "5000")]
    line = normdiag.interpolate(*files, data=[str(samples / "digits.npz")], load_options=MLP, steps=5)
    nets = [DigitsMLP("batch") for _ in files]
    for net, file in zip(nets, files, strict=True):
        net.load_state_dict(torch.load(file, weights_only=True))
    assert [point.t for point in line.points] == [0.0, 0.25, 0.5, 0.75, 1.0] and line.layers == 3
    for point in line.points:
        loss, accuracy = judged(middle(*nets, point.t), *digits.load(samples / digits.VALIDATION))
        assert point.loss == pytest.approx(loss, rel=1e-4)
        assert point.accuracy == pytest.approx(accuracy, abs=1.5 / 359)  # one answer may hang on rounding
    loss, accuracy = judged(nets[0], *digits.load(samples / digits.VALIDATION))
    assert (line.points[0].loss, line.points[0].accuracy) == (pytest.approx(loss, rel=1e-4), accuracy)


def test_recalibrated_statistics_are_those_of_the_whole_data(
    samples: Path, trained: tuple[nn.Module, nn.Module]
) -> None:
    """On one batch, against torch's own: cumulative statistics in training mode."""
    x, y = digits.load(samples / digits.VALIDATION)
    line = normdiag.interpolate(*trained, [(x, y)], data_options=normdiag.DataOptions(batch_size=len(x)), steps=3)
    net = middle(*trained, 0.5).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        net.train()(x.double())
    assert line.points[1].recalibrated_loss == pytest.approx(judged(net, x, y)[0], rel=2e-3)


def test_between_two_trainings_recalibration_lowers_the_barrier(
    samples: Path, trained: tuple[nn.Module, nn.Module]
) -> None:
    before = [copy.deepcopy(net.state_dict()) for net in trained]
    line = normdiag.interpolate(*trained, [digits.load(samples / digits.VALIDATION)], steps=5)
    assert line.recalibrated_barrier < 0.8 * line.barrier and line.barrier > 0.5
    assert line.points[2].recalibrated_accuracy > line.points[2].accuracy + 0.1
    for net, state in zip(trained, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_without_running_statistics_both_ways_are_the_same(samples: Path) -> None:
    torch.manual_seed(0)
    other = DigitsTransformer("layer")
    net = DigitsTransformer("layer")
    net.load_state_dict(torch.load(samples / "digits_transformer_layer.pt", weights_only=True))
    line = normdiag.interpolate(net, other, [digits.load(samples / digits.VALIDATION)], steps=3)
    assert line.layers == 0 and line.points[0].accuracy > 0.9 > line.points[2].accuracy
    assert all((p.loss, p.accuracy) == (p.recalibrated_loss, p.recalibrated_accuracy) for p in line.points)
    text = render_text(line.document(), width=80, color=False)
    assert "nothing to recalibrate" in text and "interpolated" not in text


def test_a_barrier_is_what_rises_above_the_straight_line() -> None:
    losses = (0.0, 1.5, 3.0, 2.0, 4.0)
    points = tuple(PathPoint(i / 4, loss, 0.5, i / 4, 0.5) for i, loss in enumerate(losses))
    line = PathReport("a.pt", "b.pt", points, 1, "val.npz", 10)
    assert (line.barrier, line.recalibrated_barrier) == (1.0, 0.0)
    broken = PathReport("a.pt", "b.pt", (points[0], PathPoint(0.5, math.nan, 0, 0, 0), points[-1]), 1, "val.npz", 10)
    assert math.isnan(broken.barrier)


def test_what_people_and_machines_read(samples: Path) -> None:
    files = [samples / f"digits_mlp_batch_{step}.pt" for step in ("0100", "5000")]
    data = [str(samples / "digits.npz")]
    line = normdiag.interpolate(*files, data=data, load_options=MLP, steps=3)
    document = json.loads(line.to_json())
    jsonschema.validate(document, SCHEMA)
    assert [each["t"] for each in document["path"]["points"]] == [0.0, 0.5, 1.0] and document["steps"] == []
    rows = list(csv.DictReader(io.StringIO(line.to_csv())))
    assert float(rows[1]["recalibrated_loss"]) == line.points[1].recalibrated_loss
    figures = [block for section in line.document(Detail(figures=True)).sections for block in section.blocks]
    charts = [block for block in figures if type(block).__name__ == "Chart"]
    assert [len(chart.series) for chart in charts] == [2, 2]
    assert list(charts[1].series[1].values) == [100.0 * each.recalibrated_accuracy for each in line.points]
    assert "Loss from A to B" in line.to_html() and "<PathResult: On the way" in repr(line)
    table = render_text(line.document(), width=60, color=False).partition("From A to B")[2]
    assert max(map(len, table.splitlines())) <= 60


def test_bad_input_is_one_line(samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (str(samples / f"digits_mlp_batch_{step}.pt") for step in ("0100", "5000"))
    arch, data = ["--arch", "sample_models/net.py:DigitsMLP", "--arch-arg", "norm=batch"], ["--data", "d.npz"]
    x, y = (each.numpy()[:64] for each in digits.load(samples / digits.VALIDATION))
    np.savez(tmp_path / "bare.npz", x=x)
    np.savez(tmp_path / "more.npz", x=x, y=y + 5)
    assert run(["history", "--path", a, b, *arch, "--data", str(samples / "digits.npz"), "--steps", "2", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("t,loss,accuracy,recalibrated_loss")
    for words, told in (
        ([a, b, "--path", *arch, "--data", str(tmp_path / "bare.npz")], "labels"),
        ([a, b, "--path", *arch, "--data", str(tmp_path / "more.npz")], "10 classes"),
        ([a, "--path", *arch, *data], "two checkpoints"),
        ([a, b, "--steps", "3", *arch, *data], "--path"),
        ([a, b, "--path", "--every", "2", *arch, *data], "--steps"),
        ([a, str(samples / "digits_mlp_batch.onnx"), "--path", *data], ""),
        ([str(samples / "digits_cnn.onnx")] * 2 + ["--path", *data], "PyTorch"),
    ):
        assert run(["history", *words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and told in err and "internal" not in err


def test_checkpoints_that_do_not_match_are_refused(samples: Path) -> None:
    data = [digits.load(samples / digits.VALIDATION)]
    with pytest.raises(InputError, match="not of one architecture"):
        normdiag.interpolate(DigitsMLP("batch"), DigitsMLP("none"), data)
    with pytest.raises(InputError, match="shapes"):
        normdiag.interpolate(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), data
        )
    with pytest.raises(UsageError):
        normdiag.interpolate(DigitsMLP("none"), DigitsMLP("none"), data, steps=1)
    with pytest.raises(UsageError):
        normdiag.interpolate(DigitsMLP("none"), DigitsMLP("none"))
