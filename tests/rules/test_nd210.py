"""ND210: what drops at random in an export, and what only could."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from normdiag.rules import Context
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import outputs_of
from tests.rules.graph_reports import bn, found, seen

IO = "g (float[N,4,5,5] x{more}) => (float[N,4,5,5] y)"
RATIO, ON, OFF = np.array(0.5, np.float32), np.array(True), np.array(False)


def graph(folder: Path, dropout: str, opset: int = 17, more: str = "", **arrays: np.ndarray) -> Context:
    body = f"[drop] a = Dropout ({dropout}) {bn('a', 'y', 'bn1')}"
    return seen(folder, f"{IO.replace('{more}', more)} {{ {body} }}", opset, ratio=RATIO, **arrays)


@pytest.mark.parametrize("opset", [12, 13, 17, 21])
def test_training_mode_is_a_warning(tmp_path: Path, opset: int) -> None:
    (finding,) = found("ND210", graph(tmp_path, "x, ratio, mode", opset, mode=ON))
    assert (finding.severity, finding.layer, finding.evidence["dropouts"]) == ("warning", "drop", 1)
    assert "drops at random" in finding.message and "eval mode" in finding.remedy


def test_several_are_one_finding(tmp_path: Path) -> None:
    body = f"""[one] a = Dropout (x, ratio, mode)  b = Relu(a)  [two] c = Dropout (b, ratio, mode)
        [off] d = Dropout (c, ratio) {bn("d", "y", "bn1")}"""
    text = f"{IO.replace('{more}', '')} {{ {body} }}"
    (finding,) = found("ND210", seen(tmp_path, text, ratio=RATIO, mode=ON))
    assert finding.evidence["dropouts"] == 2 and finding.message.startswith("one, two: ")


@pytest.mark.parametrize("dropout", ["x", "x, ratio", "x, ratio, mode"])
def test_eval_mode_is_silent(tmp_path: Path, dropout: str) -> None:
    assert not found("ND210", graph(tmp_path, dropout, mode=OFF))


def test_trap_a_mode_that_the_caller_sets(tmp_path: Path) -> None:
    assert not found("ND210", graph(tmp_path, "x, ratio, mode", more=", bool mode"))


@pytest.mark.parametrize(("mode", "drops"), [(ON, True), (OFF, False)], ids=["on", "off"])
def test_trap_a_default_that_the_caller_may_override(tmp_path: Path, mode: np.ndarray, drops: bool) -> None:
    report = graph(tmp_path, "x, ratio, mode", more=", bool mode", mode=mode)
    assert bool(found("ND210", report)) is drops
    assert report.graph is not None
    (dropout,) = [op for op in report.graph.ops if op.operator == "Dropout"]
    assert dropout.kind == "other", "nothing is folded through it, for it may be switched on"


def test_trap_operator_sets_that_know_no_training_mode(tmp_path: Path) -> None:
    text = f"{IO.replace('{more}', '')} {{ a = Dropout <ratio=0.5> (x) {bn('a', 'y')} }}"
    for opset in (7, 10, 11):
        assert not found("ND210", seen(tmp_path, text, opset))


def test_the_runtime_drops_indeed() -> None:
    text = f"{IO.replace('{more}', '')} {{ y = Dropout (x, ratio, mode) }}"
    x = np.ones((1, 4, 5, 5), np.float32)
    for mode, share in ((ON, 0.5), (OFF, 0.0)):
        y = outputs_of(from_text(text, 17, ratio=RATIO, mode=mode), {"x": x})["y"]
        assert np.mean(y == 0.0) == pytest.approx(share, abs=0.3 * share)
