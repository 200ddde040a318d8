"""Drift that a dropout in front makes: ND204 says how much, ND301 and ND303 do not put it down to the input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.metrics import measure_drift
from normdiag.records import ChannelSums, DataInfo, Drift, LayerMetrics
from normdiag.rules import Context
from normdiag.rules.dropouts import Shifted
from tests.rules.graph_reports import bn, found, seen

DATA = DataInfo("val.npz", 400, 32, 13)
SHAPE = "g (float[N,4,5,5] x) => (float[N,4,5,5] y)"
PLAIN = f"a = Conv(x, kernel) {bn('a', 'y', 'bn1')}"


def dropped(ratio: float) -> str:
    return f"d = Dropout <ratio={ratio}> (x) a = Conv(d, kernel) {bn('a', 'y', 'bn1')}"


def fed(factor: float, var: NDArray[np.float64]) -> Drift:
    """Drift of channels that vary `factor` times as much as stored."""
    m = np.random.default_rng(0).normal(size=(400, len(var))) * 0.01 * np.sqrt(var)
    return measure_drift(ChannelSums.of(m, m * m + factor**2 * var), var, 1e-5)


def measured(folder: Path, body: str, factor: float) -> Context:
    context = seen(folder, f"{SHAPE} {{ {body} }}", 11)
    (row,) = context.report.layers
    assert row.layer.running_var is not None
    drift = fed(factor, np.asarray(row.layer.running_var, np.float64))
    rows = (LayerMetrics(row.layer, 1, drift, drift),)
    return replace(context, report=replace(context.report, data=DATA, layers=rows))


def variances(square: float, keep: float, seed: int = 0) -> tuple[float, float]:
    """Of a sum of 64 independent values with this mean square over variance: without a dropout, and with it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40000, 64)) + np.sqrt(square - 1.0)
    weight = rng.normal(size=64)
    return np.var(x @ weight), np.var((x * (rng.random(x.shape) < keep) / keep) @ weight)


@pytest.mark.parametrize(("square", "keep"), [(1.0, 0.5), (1.0, 0.8), (1.47, 0.5), (10.0, 0.5), (10.0, 0.8)])
def test_the_formula_is_what_a_dropout_does(square: float, keep: float) -> None:
    off, on = variances(square, keep)
    assert Shifted("n", "d", keep).factor(square) == pytest.approx(np.sqrt(off / on), rel=0.03)


def test_what_nd204_expects_is_the_least_for_values_that_are_not_correlated() -> None:
    assert Shifted("n", "d", 0.5).drift == pytest.approx(1 - np.sqrt(0.5))
    off, on = variances(1.47, 0.5)
    assert 1 - np.sqrt(off / on) > Shifted("n", "d", 0.5).drift


@pytest.mark.parametrize("factor", [0.472, 0.4, 0.31])
def test_a_dropout_in_front_is_the_first_thing_to_look_at(tmp_path: Path, factor: float) -> None:
    report = measured(tmp_path, dropped(0.5), factor)
    assert found("ND204", report) and not found("ND303", report)
    (finding,) = found("ND301", report)
    assert finding.severity == "error" and finding.remedy.startswith("Put the dropout before it (ND204)")


@pytest.mark.parametrize(
    ("body", "factor"),
    [
        (PLAIN, 0.472),
        (dropped(0.5), 1 / 255),  # far below what a dropout of 0.5 does
        (dropped(0.05), 0.472),
        (dropped(0.5), 2.0),  # a dropout makes nothing larger
        (dropped(0.5), 57.0),
    ],
)
def test_what_no_dropout_explains_is_put_down_to_the_input(tmp_path: Path, body: str, factor: float) -> None:
    report = measured(tmp_path, body, factor)
    assert [each.layer for each in found("ND303", report)] == ["bn1"]
    assert "prepared as in training" in found("ND301", report)[0].remedy


def test_trap_a_dropout_behind_the_layer(tmp_path: Path) -> None:
    body = f"a = Conv(x, kernel) {bn('a', 'b', 'bn1')} y = Dropout <ratio=0.5> (b)"
    assert found("ND303", measured(tmp_path, body, 0.472))


def test_a_later_layer_behind_a_dropout(tmp_path: Path) -> None:
    text = f"{SHAPE} {{ a = Conv(x, kernel) {bn('a', 'b', 'bn1')} d = Dropout <ratio=0.5> (b) {bn('d', 'y', 'bn2')} }}"
    context = seen(tmp_path, text, 11)
    for factor, told in ((0.45, "Put the dropout"), (1.8, "Recalibrate")):
        rows = [
            LayerMetrics(row.layer, 1, drift, drift)
            for row, size in zip(context.report.layers, (1.0, factor), strict=True)
            for drift in [fed(size, np.asarray(row.layer.running_var, np.float64))]
        ]
        measured = replace(context.report, data=DATA, layers=tuple(rows))
        (finding,) = found("ND301", replace(context, report=measured))
        assert finding.layer == "bn2" and finding.remedy.startswith(told)


@pytest.mark.parametrize(("factor", "severity"), [(0.7, "warning"), (0.97, "info")])
def test_data_on_which_nothing_drifts_makes_nd204_information(tmp_path: Path, factor: float, severity: str) -> None:
    assert found("ND204", measured(tmp_path, dropped(0.5), factor))[0].severity == severity
    assert found("ND204", seen(tmp_path, f"{SHAPE} {{ {dropped(0.5)} }}", 11))[0].severity == "warning"
