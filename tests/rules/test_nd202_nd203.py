"""ND202 and ND203: BatchNorm that could be folded, and biases that it takes away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.rules.graph_reports import bn, found, seen, weight

SHAPE = "g (float[N,4,5,5] x) => (float[N,4,5,5] y)"


def test_nd202_counts_layers_nodes_and_parameters(tmp_path: Path) -> None:
    first = f"a = Conv(x, kernel) {bn('a', 'b', 'bn1')} c = Relu(b)"
    body = f"{first} d = Conv(c, kernel, other) {bn('d', 'e', 'bn2')} y = Relu(e)"
    (finding,) = found("ND202", seen(tmp_path, f"{SHAPE} {{ {body} }}", other=weight(4)))
    assert (finding.severity, finding.layer) == ("info", "bn1")
    assert finding.layers == ("bn1", "bn2")
    assert finding.message.startswith("bn1, bn2: 2 of 2 BatchNorm layers")
    # Two times gamma, beta, mean and variance of 4 channels, less the bias that the first convolution gets.
    assert finding.evidence == {"foldable": 2, "of": 2, "nodes": 2, "parameters": 2 * 16 - 4}
    assert "normdiag fold" in finding.remedy


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("a/net.onnx", "a/net.onnx"),
        ("a;touch x;.onnx", "'a;touch x;.onnx'"),
        ("-f.onnx", "./-f.onnx"),
        (None, "model.onnx"),
    ],
)
def test_nd202_s_command_can_be_copied_whatever_the_file_is_called(
    tmp_path: Path, path: str | None, argument: str
) -> None:
    context = seen(tmp_path, f"{SHAPE} {{ a = Conv(x, kernel) {bn('a', 'y', 'bn1')} }}")
    context = replace(context, report=replace(context.report, model=replace(context.report.model, path=path)))
    (finding,) = found("ND202", context)
    assert finding.remedy == f"normdiag fold {argument} -o folded.onnx"


def test_nd202_says_how_many_of_how_many(tmp_path: Path) -> None:
    body = f"a = Conv(x, kernel) {bn('a', 'b', 'bn1')} c = Relu(b) {bn('c', 'd', 'bn2')} y = Sigmoid(d)"
    (finding,) = found("ND202", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert (finding.evidence["foldable"], finding.evidence["of"]) == (1, 2)


def test_nd202_a_fold_into_the_layer_behind_counts_too(tmp_path: Path) -> None:
    (finding,) = found("ND202", seen(tmp_path, f"{SHAPE} {{ {bn('x', 'a', 'bn1')} y = Conv(a, kernel) }}"))
    assert finding.evidence["parameters"] == 16 - 4


@pytest.mark.parametrize(
    "body",
    [
        f"a = Relu(x) {bn('a', 'b')} y = Relu(b)",
        f"a = Conv(x, kernel) {bn('a', 'y', '', '<training_mode=1>')}",
        "a = Conv(x, kernel) y = Relu(a)",
    ],
    ids=["nowhere to go", "training mode", "no norm"],
)
def test_nd202_is_silent_where_nothing_can_be_folded(tmp_path: Path, body: str) -> None:
    assert not found("ND202", seen(tmp_path, f"{SHAPE} {{ {body} }}"))


def test_nd202_trap_gamma_and_beta_of_a_layer_norm_are_no_batch_norm(tmp_path: Path) -> None:
    """dense_v4 of magika: a scale and shift with constants, which can be folded but is not what the rule is about."""
    body = "a = MatMul(x, matrix) b = Mul(a, gamma4) c = Add(b, beta4) d = Relu(c) y = MatMul(d, matrix)"
    report = seen(tmp_path, f"g (float[N,4] x) => (float[N,4] y) {{ {body} }}")
    assert report.folds is not None and report.folds.steps, "the planner folds it"
    assert not found("ND202", report)


# ND203


CASES = {
    "conv": f"a = Conv(x, kernel, offset) {bn('a', 'y', 'bn1')}",
    "through identity": f"a = Conv(x, kernel, offset) i = Identity(a) {bn('i', 'y', 'bn1')}",
    "training mode": f"a = Conv(x, kernel, offset) {bn('a', 'y', 'bn1', '<training_mode=1>')}",
    "transposed": f"a = ConvTranspose(x, kernel, offset) {bn('a', 'y', 'bn1')}",
    "instance norm": "a = Conv(x, kernel, offset) y = InstanceNormalization(a, gamma4, beta4)",
}


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_nd203_fires_on_a_bias_right_in_front_of_the_norm(tmp_path: Path, body: str) -> None:
    (finding,) = found("ND203", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert (finding.severity, finding.evidence["layers"]) == ("info", 1)


def test_nd203_lists_all_layers_in_one_finding(tmp_path: Path) -> None:
    body = (
        f"[c1] a = Conv(x, kernel, offset) {bn('a', 'd', 'bn1')} [c2] e = Conv(d, kernel, offset) {bn('e', 'y', 'bn2')}"
    )
    (finding,) = found("ND203", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert finding.layers == ("c1", "c2")
    assert finding.message.startswith("c1, c2: bias that")


@pytest.mark.parametrize(
    "body",
    [
        f"a = Conv(x, kernel) {bn('a', 'y', 'bn1')}",
        f"a = Conv(x, kernel, zeros4) {bn('a', 'y', 'bn1')}",
        f"a = Conv(x, kernel, offset) r = Relu(a) {bn('r', 'y', 'bn1')}",
        f"a = Conv(x, kernel, offset) {bn('a', 'n', 'bn1')} y = Add(a, n)",
        f"a = Conv(x, kernel, offset) d = Dropout(a) {bn('d', 'y', 'bn1')}",
        "a = Conv(x, kernel, offset) y = GroupNormalization <num_groups=2> (a, gamma4, beta4)",
        f"{bn('x', 'a', 'bn1')} y = Conv(a, kernel, offset)",
    ],
    ids=["none", "zeros of an exporter", "nonlinearity", "read elsewhere", "dropout", "group norm", "behind"],
)
def test_nd203_is_silent(tmp_path: Path, body: str) -> None:
    assert not found("ND203", seen(tmp_path, f"{SHAPE} {{ {body} }}", opset=21))


def test_nd203_is_silent_where_the_graph_gives_the_tensor_away(tmp_path: Path) -> None:
    text = (
        f"g (float[N,4,5,5] x) => (float[N,4,5,5] a, float[N,4,5,5] y) {{ a = Conv(x, kernel, offset) {bn('a', 'y')} }}"
    )
    assert not found("ND203", seen(tmp_path, text))


def test_nd203_a_linear_layer_s_bias_must_run_along_the_channels_of_the_norm(tmp_path: Path) -> None:
    flat = f"g (float[N,4] x) => (float[N,4] y) {{ a = Gemm(x, matrix, offset) {bn('a', 'y')} }}"
    assert found("ND203", seen(tmp_path, flat))
    across = f"g (float[N,4,4] x) => (float[N,4,4] y) {{ m = MatMul(x, matrix) a = Add(m, offset) {bn('a', 'y')} }}"
    assert not found("ND203", seen(tmp_path, across))
    positions = np.arange(16, dtype=np.float32).reshape(4, 4)
    varied = f"g (float[4,4] x) => (float[4,4] y) {{ m = MatMul(x, matrix) a = Add(m, p44) {bn('a', 'y')} }}"
    assert not found("ND203", seen(tmp_path, varied, p44=positions))
