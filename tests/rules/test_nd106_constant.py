"""ND106 where gamma is zero throughout: what is lost, and what goes around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normdiag.rules import Context
from tests.rules.graph_reports import bn, found, seen

ZERO = np.zeros(4, np.float32)
SHAPE = "g (float[N,4,5,5] x) => (float[N,4,5,5] y)"


def dead(x: str, y: str, name: str) -> str:
    return f"[{name}] {y} = BatchNormalization ({x}, zero4, beta4, mean4, var4)"


def graph(folder: Path, body: str, shape: str = SHAPE, **arrays: np.ndarray) -> Context:
    return seen(folder, f"{shape} {{ {body} }}", zero4=ZERO, **arrays)


PLAIN = f"a = Conv(x, kernel) {dead('a', 'b', 'n1')} c = Relu(b) d = Conv(c, kernel) {bn('d', 'y', 'n2')}"
LOST = {
    "a plain net": PLAIN,
    "the last layer": f"a = Conv(x, kernel) {dead('a', 'y', 'n1')}",
    "before a residual branch": f"{dead('x', 'b', 'n1')} c = Conv(b, kernel) y = Add(b, c)",
    "before the end of a branch": f"{dead('x', 'b', 'n1')} c = Conv(b, kernel) {dead('c', 'd', 'n2')} y = Add(b, d)",
    "after a residual branch that begins at zero": f"c = Conv(x, kernel) {dead('c', 'd', 'n0')} e = Add(x, d) "
    f"{dead('e', 'y', 'n1')}",
    "two in a row": f"{dead('x', 'b', 'n1')} c = Conv(b, kernel) {dead('c', 'y', 'n2')}",
    "instance norm": "[n1] a = InstanceNormalization(x, zero4, beta4) y = Conv(a, kernel)",
    "a sum with a constant": f"{dead('x', 'a', 'n1')} b = Add(a, offset411) y = Relu(b)",
}


@pytest.mark.parametrize("body", LOST.values(), ids=LOST)
def test_nothing_gets_past_it(tmp_path: Path, body: str) -> None:
    (finding,) = found("ND106", graph(tmp_path, body, offset411=np.ones((4, 1, 1), np.float32)))
    assert (finding.layers, finding.severity) == (("n1",), "error")
    assert "no longer depends on its input" in finding.message


def test_both_sides_of_a_sum(tmp_path: Path) -> None:
    body = f"a = Conv(x, kernel) {dead('a', 'b', 'n1')} c = Conv(x, kernel) {dead('c', 'd', 'n2')} y = Add(b, d)"
    (finding,) = found("ND106", graph(tmp_path, body))
    assert (finding.layers, finding.severity) == (("n1", "n2"), "error")


def test_one_of_two_outputs(tmp_path: Path) -> None:
    body = f"a = Conv(x, kernel) {dead('a', 'y', 'n1')} {bn('x', 'z', 'n2')}"
    (finding,) = found("ND106", graph(tmp_path, body, SHAPE[:-1] + ", float[N,4,5,5] z)"))
    assert (finding.layers, finding.severity) == (("n1",), "error")


def test_a_branch_that_another_layer_reads_is_a_warning(tmp_path: Path) -> None:
    body = f"{dead('x', 'a', 'n1')} b = Relu(a) c = Conv(b, kernel) y = Add(c, x)"
    (finding,) = found("ND106", graph(tmp_path, body))
    assert (finding.layers, finding.severity) == (("n1",), "warning")
    assert "in this branch is lost" in finding.message


TRAPS = {
    "the end of a residual branch": f"a = Conv(x, kernel) {dead('a', 'b', 'n1')} y = Add(b, x)",
    "an activation before the sum": f"a = Conv(x, kernel) {dead('a', 'b', 'n1')} c = Relu(b) y = Add(x, c)",
    "squeeze and excitation before the sum": f"{dead('x', 'b', 'n1')} p = GlobalAveragePool(b) "
    "q = Conv(p, kernel) s = Sigmoid(q) m = Mul(b, s) y = Add(m, x)",
    "a gate": f"{dead('x', 'b', 'n1')} s = Sigmoid(b) y = Mul(x, s)",
    "a dense block": f"{dead('x', 'b', 'n1')} c = Concat <axis=1> (b, x) y = Conv(c, wide)",
    "a residual branch in each block": f"a = Conv(x, kernel) {dead('a', 'b', 'n1')} c = Add(b, x) d = Relu(c) "
    f"e = Conv(d, kernel) {dead('e', 'f', 'n2')} y = Add(f, d)",
    "one channel is left": "[n1] y = BatchNormalization (x, some4, beta4, mean4, var4)",
    "never updated": "[n1] y = BatchNormalization (x, zero4, beta4, zero4, ones4)",
    "layer norm": "[n1] y = LayerNormalization (x, zero5, zero5)",
}


@pytest.mark.parametrize("body", TRAPS.values(), ids=TRAPS)
def test_traps(tmp_path: Path, body: str) -> None:
    arrays = {
        "some4": np.array([0, 0, 0, 1], np.float32),
        "ones4": np.ones(4, np.float32),
        "zero5": np.zeros(5, np.float32),
        "wide": np.ones((4, 8, 1, 1), np.float32),
    }
    assert not [each for each in found("ND106", graph(tmp_path, body, **arrays)) if "throughout" in each.message]


def test_trap_a_subgraph_whose_reads_are_not_known(tmp_path: Path) -> None:
    report = graph(tmp_path, PLAIN)
    assert report.graph is not None and found("ND106", report)
    hidden = replace(report.graph, pinned={"x": "a subgraph of If reads it"})
    assert not found("ND106", replace(report, graph=hidden))


def test_trap_no_graph(tmp_path: Path) -> None:
    assert not found("ND106", replace(graph(tmp_path, PLAIN), graph=None))
