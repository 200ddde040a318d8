"""ND204 and ND205: dropout before BatchNorm, and BatchNorm after the nonlinearity."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.rules.graph_reports import bn, found, seen

SHAPE = "g (float[N,4,5,5] x) => (float[N,4,5,5] y)"
OLD = 11  # before operator set 12 the ratio is an attribute


def dropout(x: str, y: str, ratio: float = 0.5) -> str:
    return f"[drop] {y} = Dropout <ratio={ratio}> ({x})"


def graph(body: str) -> str:
    return f"{SHAPE} {{ {body} }}"


BETWEEN = {
    "nothing": f"{dropout('x', 'a')} {bn('a', 'y', 'bn1')}",
    "conv": f"{dropout('x', 'a')} b = Conv(a, kernel) {bn('b', 'y', 'bn1')}",
    "conv and relu": f"{dropout('x', 'a')} b = Conv(a, kernel, offset) c = Relu(b) {bn('c', 'y', 'bn1')}",
    "pool": f"{dropout('x', 'a')} b = AveragePool <kernel_shape=[1,1]> (a) {bn('b', 'y', 'bn1')}",
}


@pytest.mark.parametrize("body", BETWEEN.values(), ids=BETWEEN)
def test_nd204_fires_behind_a_dropout_and_what_keeps_the_ratio(tmp_path: Path, body: str) -> None:
    (finding,) = found("ND204", seen(tmp_path, graph(body), OLD))
    assert (finding.layer, finding.severity, finding.confidence) == ("bn1", "warning", "medium")
    assert finding.evidence["keep"] == 0.5
    assert finding.evidence["expected_drift"] == pytest.approx(1 - math.sqrt(0.5))


@pytest.mark.parametrize(("ratio", "severity"), [(0.05, "info"), (0.18, "info"), (0.2, "warning"), (0.9, "warning")])
def test_nd204_warns_where_the_expected_drift_is_above_that_of_healthy_nets(
    tmp_path: Path, ratio: float, severity: str
) -> None:
    (finding,) = found("ND204", seen(tmp_path, graph(f"{dropout('x', 'a', ratio)} {bn('a', 'y', 'bn1')}"), OLD))
    assert finding.severity == severity


def test_nd204_reads_the_ratio_of_newer_operator_sets(tmp_path: Path) -> None:
    body = f"r = Constant <value = float {{0.25}}> ()  a = Dropout(x, r)  {bn('a', 'y', 'bn1')}"
    (finding,) = found("ND204", seen(tmp_path, graph(body), 17))
    assert finding.evidence["keep"] == 0.75


def test_nd204_names_the_worst_first_and_those_of_one_ratio_together(tmp_path: Path) -> None:
    body = (
        f"{dropout('x', 'a', 0.3)} {bn('a', 'b', 'bn1')} c = Relu(b) [worse] d = Dropout <ratio=0.6> (c) "
        f"e = Conv(d, kernel) {bn('e', 'f', 'bn2')} [drop] h = Dropout <ratio=0.3> (f) {bn('h', 'y', 'bn3')}"
    )
    worst, other = found("ND204", seen(tmp_path, graph(body), OLD))
    assert worst.layers == ("bn2",) and other.layers == ("bn1", "bn3")
    assert worst.message.startswith("bn2 (after worse): statistics gathered with 60% dropped in training")
    assert "bn3 (after drop_2): statistics gathered with 30% dropped" in other.message
    assert "by 37% for values around zero" in worst.message and "by 16% for" in other.message
    assert other.evidence["layers"] == 2


def test_nd204_channels_that_are_joined_by_a_concatenation_stay_shifted(tmp_path: Path) -> None:
    text = f"""g (float[N,4,5,5] x, float[N,4,5,5] z) => (float[N,8,5,5] y) {{ {dropout("x", "a")}
        b = Concat <axis=1> (a, z)  [bn1] y = BatchNormalization(b, gamma, gamma, gamma, gamma) }}"""
    assert found("ND204", seen(tmp_path, text, OLD))


SILENT = {
    "no dropout": bn("x", "y", "bn1"),
    "keeps all": f"{dropout('x', 'a', 0.0)} {bn('a', 'y', 'bn1')}",
    "behind": f"{bn('x', 'a', 'bn1')} {dropout('a', 'y')}",
    "sum with another branch": f"{dropout('x', 'a')} b = Add(a, x) {bn('b', 'y', 'bn1')}",
    "sigmoid": f"{dropout('x', 'a')} b = Sigmoid(a) {bn('b', 'y', 'bn1')}",
    "the norm uses its batch": f"{dropout('x', 'a')} "
    "y, m, v, sm, sv = BatchNormalization (a, gamma4, beta4, mean4, var4)",
    "instance norm": f"{dropout('x', 'a')} y = InstanceNormalization(a, gamma4, beta4)",
}


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT)
def test_nd204_is_silent(tmp_path: Path, body: str) -> None:
    assert not found("ND204", seen(tmp_path, graph(body), OLD))


def test_nd204_looks_no_further_than_the_first_norm(tmp_path: Path) -> None:
    body = f"{dropout('x', 'a')} {bn('a', 'b', 'bn1')} c = Conv(b, kernel) {bn('c', 'y', 'bn2')}"
    (finding,) = found("ND204", seen(tmp_path, graph(body), OLD))
    assert finding.evidence["layers"] == 1


# ND205


def usual(count: int, first: str = "x") -> tuple[str, str]:
    """Convolution, BatchNorm, ReLU, over and over; the last tensor."""
    body, last = [], first
    for i in range(count):
        body.append(f"c{i} = Conv({last}, kernel) {bn(f'c{i}', f'n{i}', f'usual{i}')} r{i} = Relu(n{i})")
        last = f"r{i}"
    return " ".join(body), last


def test_nd205_fires_for_the_odd_one_out(tmp_path: Path) -> None:
    body, last = usual(4)
    body += f" ca = Conv({last}, kernel) ra = Relu(ca) {bn('ra', 'na', 'odd')} y = Conv(na, kernel)"
    (finding,) = found("ND205", seen(tmp_path, graph(body)))
    assert (finding.layer, finding.severity) == ("odd", "info")
    assert finding.evidence == {"after": 1, "before": 4}


def test_nd205_needs_four_in_front_and_three_quarters(tmp_path: Path) -> None:
    def odd(i: int, x: str) -> str:
        return f"ca{i} = Conv({x}, kernel) ra{i} = Tanh(ca{i}) {bn(f'ra{i}', f'na{i}', f'odd{i}')}"

    body, last = usual(3)
    assert not found("ND205", seen(tmp_path, graph(f"{body} {odd(0, last)} y = Conv(na0, kernel)")))
    body, last = usual(4)
    assert not found("ND205", seen(tmp_path, graph(f"{body} {odd(0, last)} {odd(1, 'na0')} y = Conv(na1, kernel)"))), (
        "4 of 6"
    )
    body, last = usual(6)
    assert found("ND205", seen(tmp_path, graph(f"{body} {odd(0, last)} {odd(1, 'na0')} y = Conv(na1, kernel)"))), (
        "6 of 8"
    )


def after_usual(rest: str) -> str:
    body, last = usual(5)
    return f"{body} {rest.replace('LAST', last)}"


TRAPS = {
    "pre-activation: from a sum into a ReLU": f"s = Add(LAST, x) {bn('s', 'n', 'pre')} q = Relu(n) y = Conv(q, kernel)",
    "pre-activation after the stem": f"p = MaxPool <kernel_shape=[1,1]> (LAST) {bn('p', 'n', 'pre')} q = Relu(n) "
    "y = Conv(q, kernel)",
    "pre-activation after a stem without a norm": f"c = Conv(LAST, kernel) r = Relu(c) "
    f"{bn('r', 'n', 'pre')} q = Relu(n) y = Conv(q, kernel)",
    "a second norm after one in front": f"{bn('LAST', 'n', 'second')} y = Conv(n, kernel)",
    "softmax is no hidden layer": f"c = Conv(LAST, kernel) s = Softmax(c) {bn('s', 'y', 'soft')}",
    "a linear bottleneck": f"c = Conv(LAST, kernel) {bn('c', 'y', 'bottleneck')}",
    "layer norm": "c = Conv(LAST, kernel) r = Relu(c) y = InstanceNormalization(r, gamma4, beta4)",
}


@pytest.mark.parametrize("rest", TRAPS.values(), ids=TRAPS)
def test_nd205_traps(tmp_path: Path, rest: str) -> None:
    assert not found("ND205", seen(tmp_path, graph(after_usual(rest))))


def test_nd205_is_silent_for_the_norm_of_an_input_and_for_nets_that_have_all_behind(tmp_path: Path) -> None:
    body, last = usual(5, "n")
    assert not found("ND205", seen(tmp_path, graph(f"q = Relu(x) {bn('q', 'n', 'input')} {body} y = Identity({last})")))
    behind = " ".join(
        f"c{i} = Conv({f'n{i - 1}' if i else 'x'}, kernel) r{i} = Relu(c{i}) {bn(f'r{i}', f'n{i}', f'bn{i}')}"
        for i in range(6)
    )
    assert not found("ND205", seen(tmp_path, graph(f"{behind} y = Identity(n5)")))
