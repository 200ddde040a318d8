"""BatchNorm in both passes against numpy in float64, over operator sets, types and ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from normdiag.graph import open_model
from normdiag.observe.onnx import OnnxRunner
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.records import Batch, ChannelSums, Evidence
from tests.nets.onnx.nodes import batch_norm, norm_weights, write
from tests.nets.onnx.values import values_of
from tests.observe.onnx.helpers import NEWEST, moments, runner

EPS = 1e-5
SHAPES = {2: (6, 4), 3: (6, 4, 50), 4: (6, 4, 9, 11), 5: (6, 4, 3, 5, 7)}


def data(rank: int = 4, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = SHAPES[rank]
    offset = rng.normal(0, 1, (shape[0], shape[1], *[1] * (rank - 2)))
    return (rng.normal(0.3, 1.3, shape) + offset).astype(dtype)


def two_norms(folder: Path, rank: int = 4, **options: object) -> Path:
    """x -> bn1 -> relu -> bn2 -> y: the first reads a graph input, the second writes a graph output."""
    dtype = str(options.get("dtype", "float32"))
    weights = norm_weights(4, "bn1", dtype) | norm_weights(4, "bn2", dtype, seed=1)
    nodes = [batch_norm("x", "a", "bn1"), helper.make_node("Relu", ["a"], ["b"]), batch_norm("b", "y", "bn2")]
    return write(folder, nodes, {"x": ["n", *SHAPES[rank][1:]]}, ["y"], weights, **options)


def normalized(x: np.ndarray, weights: dict[str, np.ndarray], prefix: str, *, own: bool) -> np.ndarray:
    """BatchNorm in float64 by stored or by own statistics."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    gamma, beta, mean, var = (weights[f"{prefix}.{n}"].astype(np.float64) for n in ("weight", "bias", "mean", "var"))
    if own:
        axes = (0, *range(2, x.ndim))
        mean, var = x.mean(axes), x.var(axes)
    return (x - mean.reshape(shape)) / np.sqrt(var + EPS).reshape(shape) * gamma.reshape(shape) + beta.reshape(shape)


def assert_sums(sums: ChannelSums | None, x: np.ndarray, mean: np.ndarray, rtol: float = 1e-5) -> None:
    assert sums is not None
    expected = ChannelSums.of(*moments(x, mean))
    assert sums.count == expected.count
    for name in ("m", "q", "second"):
        actual, wanted = getattr(sums, name), getattr(expected, name)
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max(), err_msg=name)


def assert_both_passes(evidence: Evidence, x: np.ndarray, weights: dict[str, np.ndarray], rtol: float = 1e-5) -> None:
    """Both layers of `two_norms` in both passes, and the gap."""
    wide = x.astype(np.float64)
    ends = []
    for own in (False, True):
        inner = np.maximum(normalized(wide, weights, "bn1", own=own), 0)
        ends.append(normalized(inner, weights, "bn2", own=own))
        for name, seen in (("bn1", wide), ("bn2", inner)):
            layer = evidence.layers[name]
            assert layer.calls == 1
            assert_sums(layer.own if own else layer.deployed, seen, weights[f"{name}.mean"], rtol)
    gap = evidence.outputs["y"]
    assert gap.difference_square == pytest.approx(((ends[1] - ends[0]) ** 2).sum(), rel=10 * rtol)
    assert gap.reference_square == pytest.approx((ends[0] ** 2).sum(), rel=10 * rtol)


@pytest.mark.parametrize("opset", [7, 8, 9, 12, 13, 14, 15, 17, 18, 20, NEWEST])
def test_every_operator_set(opset: int, tmp_path: Path) -> None:
    x = data()
    evidence = runner(two_norms(tmp_path, opset=opset)).observe(Batch((x,)))
    assert_both_passes(evidence, x, norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1))
    assert (evidence.samples, evidence.batches, evidence.batch_size, evidence.gap_samples) == (6, 1, 6, 6)
    assert list(evidence.layers) == ["bn1", "bn2"]


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("opset", [9, 17])
def test_every_rank(rank: int, opset: int, tmp_path: Path) -> None:
    x = data(rank)
    evidence = runner(two_norms(tmp_path, rank, opset=opset)).observe(Batch((x,)))
    assert_both_passes(evidence, x, norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1))


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float16", 3e-3)])
def test_double_keeps_its_digits_and_half_has_those_it_has(dtype: str, rtol: float, tmp_path: Path) -> None:
    x = data(dtype=dtype)
    evidence = runner(two_norms(tmp_path, dtype=dtype)).observe(Batch((x,)))
    weights = norm_weights(4, "bn1", dtype) | norm_weights(4, "bn2", dtype, seed=1)
    assert_both_passes(evidence, x, weights, rtol)


def test_half_precision_sums_do_not_overflow(tmp_path: Path) -> None:
    x = np.full((2, 4, 30, 30), 300, np.float16)
    path = write(
        tmp_path,
        [batch_norm("x", "y")],
        {"x": ["n", 4, 30, 30]},
        ["y"],
        norm_weights(4, dtype="float16"),
        dtype="float16",
    )
    sums = runner(path).observe(Batch((x,))).layers["bn"].deployed
    assert_sums(sums, x, norm_weights(4, dtype="float16")["bn.mean"])


def test_weights_that_are_listed_as_inputs(tmp_path: Path) -> None:
    x = data()
    evidence = runner(two_norms(tmp_path, opset=9, ir=3)).observe(Batch((x,)))
    assert_both_passes(evidence, x, norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1))


def test_split_data_add_up_to_the_whole_in_pass_e(tmp_path: Path) -> None:
    x, run = data(), runner(two_norms(tmp_path))
    whole, parts = run.observe(Batch((x,))), run.observe(Batch((x[:2],))) + run.observe(Batch((x[2:],)))
    for name, layer in whole.layers.items():
        for each in ("m", "q", "second"):
            np.testing.assert_allclose(
                getattr(parts.layers[name].deployed, each), getattr(layer.deployed, each), rtol=1e-6, atol=1e-6
            )


def test_stored_mean_far_from_zero_costs_no_digits(tmp_path: Path) -> None:
    weights = norm_weights(4) | {"bn.mean": np.full(4, 1000, np.float32), "bn.var": np.ones(4, np.float32)}
    x = (data() + 1000).astype(np.float32)
    path = write(tmp_path, [batch_norm("x", "y")], {"x": ["n", 4, 9, 11]}, ["y"], weights)
    layer = runner(path).observe(Batch((x,))).layers["bn"]
    assert_sums(layer.deployed, x, weights["bn.mean"], 1e-6)
    assert_sums(layer.own, x, weights["bn.mean"], 1e-6)


def test_data_far_from_zero_costs_no_digits_though_the_stored_mean_is_small(tmp_path: Path) -> None:
    """The batch's variance, and so the outputs of pass B, would be lost in the rounding of the squares."""
    x = (data(seed=3) + 3000).astype(np.float32)
    run = runner(two_norms(tmp_path))
    weights = norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1)
    changed = run.outputs(Batch((x,)), batch_statistics=True)["y"]
    inner = np.maximum(normalized(x.astype(np.float64), weights, "bn1", own=True), 0)
    np.testing.assert_allclose(changed, normalized(inner, weights, "bn2", own=True), atol=2e-3)
    assert_sums(run.observe(Batch((x,))).layers["bn1"].own, x, weights["bn1.mean"], 1e-6)


def test_constant_channels_have_no_variance(tmp_path: Path) -> None:
    x = np.full((4, 4, 9, 11), 7.3, np.float32)
    layer = runner(two_norms(tmp_path)).observe(Batch((x,))).layers["bn1"]
    assert layer.own is not None
    variance = layer.own.q / 4 - (layer.own.m / 4) ** 2
    np.testing.assert_allclose(variance, 0, atol=1e-9)


def test_one_sample_has_no_batch_statistics(tmp_path: Path) -> None:
    evidence = runner(two_norms(tmp_path)).observe(Batch((data()[:1],)))
    assert evidence.gap_samples == 0
    assert not evidence.outputs
    assert evidence.layers["bn1"].deployed is not None and evidence.layers["bn1"].own is None


def test_training_mode_is_left_as_it_is_and_said(tmp_path: Path) -> None:
    weights, x = norm_weights(4), data()
    path = write(tmp_path, [batch_norm("x", "y", training_mode=1)], {"x": ["n", 4, 9, 11]}, ["y"], weights)
    run = runner(path)
    evidence = run.observe(Batch((x,)))
    assert_sums(evidence.layers["bn"].deployed, x, weights["bn.mean"])
    assert not evidence.outputs and evidence.gap_samples == 0
    assert any("training mode" in note for note in run.notes)


def test_training_mode_beside_a_stored_one(tmp_path: Path) -> None:
    weights = norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1)
    nodes = [batch_norm("x", "a", "bn1", training_mode=1), batch_norm("a", "y", "bn2")]
    x = data()
    evidence = runner(write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y"], weights)).observe(Batch((x,)))
    inner = normalized(x.astype(np.float64), weights, "bn1", own=True)
    assert_sums(evidence.layers["bn2"].deployed, inner, weights["bn2.mean"])
    assert_sums(evidence.layers["bn2"].own, inner, weights["bn2.mean"])
    assert evidence.gap_samples == 6


def test_two_nodes_with_the_same_weights_are_two_layers(tmp_path: Path) -> None:
    second = batch_norm("a", "y")
    second.name = "again"
    weights, x = norm_weights(4), data()
    path = write(tmp_path, [batch_norm("x", "a"), second], {"x": ["n", 4, 9, 11]}, ["y"], weights)
    evidence = runner(path).observe(Batch((x,)))
    assert len(evidence.layers) == 2
    first, last = evidence.layers.values()
    assert_sums(first.own, x, weights["bn.mean"])
    assert_sums(last.own, normalized(x.astype(np.float64), weights, "bn", own=True), weights["bn.mean"])


def test_a_norm_behind_a_convolution_is_not_folded_away(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = norm_weights(8) | {"w": rng.normal(0, 0.3, (8, 4, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), batch_norm("a", "y")]
    path, x = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y"], weights), data()
    layer = runner(path).observe(Batch((x,))).layers["bn"]
    assert_sums(layer.deployed, values_of(path, ["a"], {"x": x})["a"], weights["bn.mean"])
    assert_sums(layer.own, values_of(path, ["a"], {"x": x})["a"], weights["bn.mean"])


def test_the_input_of_a_norm_may_be_an_output_of_the_model(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), batch_norm("a", "y")]
    path = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["a", "y"], norm_weights(4))
    evidence = runner(path).observe(Batch((data(),)))
    assert evidence.outputs["a"].difference_square == 0
    assert evidence.outputs["y"].difference_square > 0


def test_a_rank_that_nobody_states(tmp_path: Path) -> None:
    path = two_norms(tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    x = data()
    evidence = runner(path).observe(Batch((x,)))
    assert_both_passes(evidence, x, norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1))


def test_the_program_is_not_changed(tmp_path: Path) -> None:
    model = open_model(two_norms(tmp_path))
    before = model.program.proto.SerializeToString(deterministic=True)
    run = OnnxRunner(model)
    run.observe(Batch((data(),)))
    run.outputs(Batch((data(),)), statistics={"bn1": ReplacedStatistics(np.zeros(4), np.ones(4))})
    assert model.program.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_outputs_with_the_statistics_of_one_layer_replaced(dtype: str, tmp_path: Path) -> None:
    path, x = two_norms(tmp_path, dtype=dtype), data(dtype=dtype)
    weights = norm_weights(4, "bn1", dtype) | norm_weights(4, "bn2", dtype, seed=1)
    run = runner(path)
    new = ReplacedStatistics(np.linspace(-1, 1, 4), np.linspace(0.5, 3, 4))
    plain, changed = run.outputs(Batch((x,)))["y"], run.outputs(Batch((x,)), statistics={"bn2": new})["y"]
    replaced = weights | {"bn2.mean": new.mean, "bn2.var": new.var}
    inner = np.maximum(normalized(x.astype(np.float64), weights, "bn1", own=False), 0)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(plain, normalized(inner, weights, "bn2", own=False), atol=tolerance)
    np.testing.assert_allclose(changed, normalized(inner, replaced, "bn2", own=False), atol=tolerance)
    assert plain.dtype == np.dtype(dtype)


def test_outputs_with_replaced_statistics_of_an_old_format(tmp_path: Path) -> None:
    run, x = runner(two_norms(tmp_path, opset=9, ir=3)), data()
    same = run.outputs(Batch((x,)))["y"]
    changed = run.outputs(Batch((x,)), statistics={"bn2": ReplacedStatistics(np.zeros(4), np.ones(4))})["y"]
    assert np.abs(changed - same).max() > 0.01


def test_a_norm_in_a_branch_is_said_not_to_be_watched(tmp_path: Path) -> None:
    def branch(nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
        return helper.make_graph(nodes, output, [], [helper.make_tensor_value_info(output, 1, ["n", 4, 9, 11])])

    then, other = branch([batch_norm("x", "t")], "t"), branch([helper.make_node("Relu", ["x"], ["e"])], "e")
    nodes = [helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)]
    path = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y"], norm_weights(4) | {"flag": np.array(True)})
    run = runner(path)
    assert "bn" not in run.observe(Batch((data(),))).layers
    assert any("not watched" in note and "bn" in note for note in run.notes)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_a_mean_far_from_zero_at_every_rank(rank: int, tmp_path: Path) -> None:
    x = (data(rank) + 500).astype(np.float32)
    layer = runner(two_norms(tmp_path, rank)).observe(Batch((x,))).layers["bn1"]
    assert_sums(layer.deployed, x, norm_weights(4, "bn1")["bn1.mean"], 1e-6)
    assert_sums(layer.own, x, norm_weights(4, "bn1")["bn1.mean"], 1e-6)


def test_sizes_that_differ_under_one_name_do_not_matter(tmp_path: Path) -> None:
    """A detector's outputs of every scale declared as (n, 4, k): onnxruntime would put both into one buffer."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"]),
        batch_norm("c1", "b1", "bn1"),
        helper.make_node("Relu", ["b1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2"], ["c2"]),
        batch_norm("c2", "b2", "bn2"),
        helper.make_node("Sigmoid", ["b2"], ["r2"]),
        helper.make_node("Exp", ["r2"], ["e2"]),
        helper.make_node("Reshape", ["r1", "s"], ["o1"]),
        helper.make_node("Reshape", ["e2", "s"], ["o2"]),
    ]
    rng = np.random.default_rng(0)
    convs = {name: rng.normal(size=(4, 4, 1, 1)).astype(np.float32) for name in ("w1", "w2")}
    weights = norm_weights(4, "bn1") | norm_weights(4, "bn2", seed=1) | convs | {"s": np.array([0, 4, -1])}
    path = write(tmp_path, nodes, {"x": ["n", 4, "h", "w"]}, ["o1", "o2"], weights)
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, ["n", 4, "k"]) for name in ("o1", "o2"))
    inside = ("c1", "b1", "r1", "p", "c2", "b2", "r2", "e2")
    model.graph.value_info.extend(helper.make_tensor_value_info(name, 1, ["n", 4, "h", "w"]) for name in inside)
    onnx.save(model, path)
    run, x = runner(path), rng.normal(size=(2, 4, 16, 16)).astype(np.float32)
    for _ in range(2):
        assert run.observe(Batch((x,))).gap_samples == 2
