"""LayerNorm, RMSNorm, GroupNorm and InstanceNorm: variances of groups against numpy in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from normdiag.records import Batch, GroupSums, VarianceCounts
from normdiag.records.group_sums import VARIANCE_BINS
from tests.nets.onnx.nodes import write
from tests.observe.onnx.helpers import runner

RNG = np.random.default_rng(0)
IMAGES = (RNG.normal(2, 1, (5, 6, 4, 3)) * RNG.uniform(0.1, 3, (5, 6, 1, 1))).astype(np.float32)
TOKENS = (RNG.normal(1, 1, (5, 7, 8)) * RNG.uniform(0.1, 3, (5, 7, 1))).astype(np.float32)


def affine(channels: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    return {"scale": np.ones(channels, dtype), "bias": np.zeros(channels, dtype)}


def observe(folder: Path, op: str, x: np.ndarray, attributes: dict[str, Any], **options: Any) -> GroupSums:
    channels = x.shape[-1] if "Layer" in op or "RMS" in op else x.shape[1]
    weights = affine(channels, str(x.dtype))
    weights = {"scale": weights["scale"]} if "RMS" in op or "Simplified" in op else weights
    node = helper.make_node(op, ["x", *weights], ["y"], name="norm", **attributes)
    path = write(folder, [node], {"x": ["n", *x.shape[1:]]}, ["y"], weights, dtype=str(x.dtype), **options)
    layer = runner(path).observe(Batch((x,))).layers["norm"]
    assert layer.calls == 1 and layer.deployed is None
    assert layer.groups is not None
    return layer.groups


def on_all_bins(variances: VarianceCounts) -> np.ndarray:
    """The histogram over all parts, (VARIANCE_BINS,)."""
    before, counts = variances.first, variances.counts.sum(0)
    return np.pad(counts, (before, VARIANCE_BINS - before - len(counts)))


def check(groups: GroupSums, x: np.ndarray, variance: np.ndarray, axis: int, rtol: float = 2e-6) -> None:
    wide = x.astype(np.float64)
    others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    expected = GroupSums.of(
        variance,
        (wide**2).sum(others),
        group_size=x.size // variance.size,
        channel_count=x.size // x.shape[axis],
        abs_max=float(np.abs(wide).max()),
    )
    assert groups.group_size == expected.group_size
    assert groups.channel_counts.sum() == expected.channel_counts.sum()
    assert groups.variance_min == pytest.approx(expected.variance_min, rel=rtol)
    assert groups.abs_max == pytest.approx(expected.abs_max, rel=1e-7)
    assert groups.variances.counts.sum() == variance.size
    # one may sit on an edge
    off = on_all_bins(groups.variances) - on_all_bins(expected.variances)
    assert np.abs(np.cumsum(off)).max() <= 1
    np.testing.assert_allclose(groups.channel_squares.sum(0), expected.channel_squares.sum(0), rtol=rtol)


def test_layer_norm(tmp_path: Path) -> None:
    check(observe(tmp_path, "LayerNormalization", TOKENS, {"axis": -1}), TOKENS, TOKENS.astype(np.float64).var(-1), -1)


def test_rms_norm(tmp_path: Path) -> None:
    groups = observe(tmp_path, "RMSNormalization", TOKENS, {"axis": -1}, opset=23)
    check(groups, TOKENS, (TOKENS.astype(np.float64) ** 2).mean(-1), -1)


def test_instance_norm(tmp_path: Path) -> None:
    groups = observe(tmp_path, "InstanceNormalization", IMAGES, {}, opset=9)
    check(groups, IMAGES, IMAGES.astype(np.float64).var((2, 3)), 1)


def test_group_norm(tmp_path: Path) -> None:
    groups = observe(tmp_path, "GroupNormalization", IMAGES, {"num_groups": 3}, opset=21)
    check(groups, IMAGES, IMAGES.astype(np.float64).reshape(5, 3, -1).var(-1), 1)


def test_skip_layer_norm_sees_the_sum(tmp_path: Path) -> None:
    skip = RNG.normal(size=TOKENS.shape).astype(np.float32)
    node = helper.make_node(
        "SkipLayerNormalization", ["x", "skip", "scale", "bias"], ["y"], name="norm", domain="com.microsoft"
    )
    shape = ["n", *TOKENS.shape[1:]]
    path = write(tmp_path, [node], {"x": shape, "skip": shape}, ["y"], affine(8))
    groups = runner(path).observe(Batch((TOKENS, skip))).layers["norm"].groups
    assert groups is not None
    total = TOKENS + skip
    check(groups, total, total.astype(np.float64).var(-1), -1)


def test_decomposed_layer_norm(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        helper.make_node("Sub", ["x", "mean"], ["centered"]),
        helper.make_node("Mul", ["centered", "centered"], ["squared"]),
        helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[-1]),
        helper.make_node("Add", ["variance", "eps"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["deviation"]),
        helper.make_node("Div", ["centered", "deviation"], ["normal"]),
        helper.make_node("Mul", ["normal", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["y"]),
    ]
    weights = affine(8) | {"eps": np.float32(1e-5)}
    path = write(tmp_path, nodes, {"x": ["n", *TOKENS.shape[1:]]}, ["y"], weights, opset=13)
    (layer,) = runner(path).observe(Batch((TOKENS,))).layers.values()
    assert layer.groups is not None
    check(layer.groups, TOKENS, TOKENS.astype(np.float64).var(-1), -1)


def test_a_large_mean_does_not_hide_a_small_variance(tmp_path: Path) -> None:
    x = (IMAGES * 1e-2 + 100).astype(np.float32)
    groups = observe(tmp_path, "InstanceNormalization", x, {})
    check(groups, x, x.astype(np.float64).var((2, 3)), 1, rtol=1e-4)


def test_half_precision_is_squared_in_float32(tmp_path: Path) -> None:
    x = (TOKENS * 200).astype(np.float16)
    groups = observe(tmp_path, "LayerNormalization", x, {"axis": -1})
    check(groups, x, x.astype(np.float64).var(-1), -1)


def test_no_batch_pass_without_batch_norm(tmp_path: Path) -> None:
    node = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"], name="norm")
    path = write(tmp_path, [node], {"x": ["n", 6, 4, 3]}, ["y"], affine(6))
    evidence = runner(path).observe(Batch((IMAGES,)))
    assert (evidence.gap_samples, dict(evidence.outputs)) == (0, {})
