"""New parameters, against running the layer between the two maps of the edit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normdiag.folding.floats import as_dtype
from normdiag.folding.layout import BLOCK, blocks
from normdiag.folding.targets import channels_of
from normdiag.folding.weights import changes_weight, new_parameters
from normdiag.records import Affine, Constant, Conv, LayerEdit, Linear, Norm, Op, OpGraph, ScaleShift
from tests.folding.interpret import run
from tests.nets.op_graph import GraphNet, parameter

DTYPES = ["float16", "bfloat16", "float32", "float64"]
seeds = st.integers(0, 2**32 - 1)


def along(axis: int, channels: int, rank: int, random: np.random.Generator) -> Affine:
    shape = [1] * rank
    shape[axis] = channels
    return Affine(random.normal(size=shape), random.normal(size=shape))


def check(net: GraphNet, edit: LayerEdit) -> None:
    """new(x) = outer(L(inner(x)))."""
    op = net.ops[-1]
    graph = OpGraph((op,), op.inputs, op.outputs)
    x = np.random.default_rng(1).normal(size=net.shapes[op.inputs[0]]) if op.inputs else None
    feeds = {op.inputs[0]: x} if op.inputs else {}
    edited = run_edited(graph, feeds, net, edit)
    if edit.inner:
        feeds = {op.inputs[0]: edit.inner.scale * x + edit.inner.shift}
    expected = run(graph, feeds, net.shapes)[op.outputs[0]]
    if edit.outer:
        expected = edit.outer.scale * expected + edit.outer.shift
    np.testing.assert_allclose(edited, expected, rtol=1e-9, atol=1e-9)


def run_edited(graph: OpGraph, feeds: dict[str, object], net: GraphNet, edit: LayerEdit) -> object:
    from normdiag.records import FoldPlan

    return run(graph, feeds, net.shapes, FoldPlan(edits={0: edit}))[graph.ops[0].outputs[0]]


@settings(max_examples=150)
@given(st.data(), seeds, st.sampled_from([1, 2, 4]), st.booleans(), st.booleans(), st.sampled_from([(5,), (3, 4)]))
def test_convolutions(
    data: st.DataObject, seed: int, groups: int, transposed: bool, bias: bool, size: tuple[int, ...]
) -> None:
    net = GraphNet(4, *size, seed=seed)
    kernel = data.draw(st.sampled_from([1, 3]))
    net.conv(net.x, 8, kernel=kernel, groups=groups, transposed=transposed, bias=bias)
    random = np.random.default_rng(seed)
    inner = along(1, 4, 2 + len(size), random)
    if transposed:
        inner = Affine(inner.scale, np.zeros_like(inner.shift))
    sides = data.draw(st.sampled_from(["inner", "outer", "both"]))
    outer = along(1, 8, 2 + len(size), random)
    check(net, LayerEdit(inner if sides != "outer" else None, outer if sides != "inner" else None))


@settings(max_examples=200)
@given(st.data(), seeds, st.booleans(), st.sampled_from([(1.0, 1.0), (0.5, 3.0), (2.0, 0.0)]))
def test_linear_layers(data: st.DataObject, seed: int, upright: bool, factors: tuple[float, float]) -> None:
    axis = data.draw(st.sampled_from([-1, -2]))
    biases: list[tuple[int, ...] | None] = [
        None,
        (),
        (1,),
        (5, 1) if axis == -2 else (5,),
        (5, 3) if axis == -2 else (4, 5),
    ]
    net = GraphNet(*((4, 4) if axis == -1 else (4, 3)), seed=seed)
    net.linear(
        net.x, 5, axis=axis, upright=upright, bias=data.draw(st.sampled_from(biases)), alpha=factors[0], beta=factors[1]
    )
    random = np.random.default_rng(seed)
    inner, outer = (along(3 + axis, channels, 3, random) for channels in (4, 5))
    sides = data.draw(st.sampled_from(["inner", "outer", "both"]))
    check(net, LayerEdit(inner if sides != "outer" else None, outer if sides != "inner" else None))


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("upright", [False, True])
def test_batches_of_matrices(axis: int, upright: bool) -> None:
    """A constant of rank 3 in a MatMul: a matrix for each entry of the first axis."""
    random = np.random.default_rng(4)
    out_axis = -2 if upright else -1
    matrices = random.normal(size=(2, 5, 4) if upright else (2, 4, 5))
    detail = Linear(parameter("w", matrices), None, out_axis, -3 - out_axis, axis, alpha=0.5)
    net = GraphNet(*((3, 4) if axis == -1 else (4, 3)))
    net._op("linear", "MatMul", [net.x], (2, 3, 5) if axis == -1 else (2, 5, 3), detail, "product")
    check(net, LayerEdit(along(3 + axis, 4, 3, random), along(3 + axis, 5, 3, random)))


def test_uniform_maps_of_one_number() -> None:
    random = np.random.default_rng(0)
    net = GraphNet(4, 5)
    for build in (
        lambda: net.conv(net.x, 8, groups=2),
        lambda: net.conv(net.x, 8, bias=False),
        lambda: net.linear(net.x, 3),
    ):
        build()
        one = Affine(random.normal(size=(1, 1, 1)), random.normal(size=(1, 1, 1)))
        check(net, LayerEdit(one, one))


@settings(max_examples=50)
@given(seeds)
def test_norms_keep_their_statistics(seed: int) -> None:
    net = GraphNet(4, 3, seed=seed)
    net.norm(net.x)
    random = np.random.default_rng(seed)
    check(net, LayerEdit(along(1, 4, 3, random), along(1, 4, 3, random)))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("beta", [False, True])
def test_layer_norms_take_what_comes_after(rank: int, beta: bool) -> None:
    net = GraphNet(4, 3)
    net.layer_norm(net.x, rank=rank, beta=beta)
    random = np.random.default_rng(0)
    check(net, LayerEdit(outer=along(2, 3, 3, random)))
    scale_only = LayerEdit(outer=Affine(random.normal(size=(1, 1, 3)), np.zeros((1, 1, 1))))
    check(net, scale_only)
    assert (new_parameters(net.ops[-1], scale_only).bias is not None) is beta


def test_scale_shift_and_constant() -> None:
    net = GraphNet(4, 3)
    random = np.random.default_rng(0)
    net.scale_shift(net.x)
    check(net, LayerEdit(along(1, 4, 3, random), along(2, 3, 3, random)))
    net.constant(1, 4, 3)
    check(net, LayerEdit(outer=along(1, 4, 3, random)))
    scalar = Op("c", "constant", "Constant", (), ("y",), Constant(parameter("v", np.array(2.0, np.float32))))
    new = new_parameters(scalar, LayerEdit(outer=Affine(np.array(3.0), np.array(1.0))))
    assert new.weight == 7
    assert (new.weight.shape, new.weight.dtype) == ((), np.float32)


def conv_in(dtype: str, *, bias: bool = True, seed: int = 0) -> Op:
    random = np.random.default_rng(seed)
    weight, shift = (random.normal(size=shape).astype(as_dtype(dtype)) for shape in ((6, 4, 3), (6,)))
    detail = Conv(parameter("w", weight), parameter("b", shift) if bias else None)
    return Op("conv", "conv", "Conv", ("x",), ("y",), detail)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_rounding_at_the_end(dtype: str) -> None:
    op = conv_in(dtype)
    edit = LayerEdit(*(along(1, channels, 3, np.random.default_rng(channels)) for channels in (4, 6)))
    new = new_parameters(op, edit)
    assert isinstance(op.detail, Conv)
    weight, bias = (p.read().astype(np.float64) for p in (op.detail.weight, op.detail.bias) if p)
    inner, outer = edit.inner, edit.outer
    assert inner
    assert outer
    scaled = (weight * inner.scale) * outer.scale.reshape(6, 1, 1)
    moved = outer.scale.ravel() * (bias + np.einsum("oik,i->o", weight, inner.shift.ravel())) + outer.shift.ravel()
    assert new.weight.dtype == as_dtype(dtype)
    assert np.array_equal(new.weight, scaled.astype(as_dtype(dtype)))
    np.testing.assert_array_almost_equal_nulp(
        new.bias.astype(np.float32), moved.astype(as_dtype(dtype)).astype(np.float32), 2
    )


@pytest.mark.parametrize(
    ("weight", "bias", "expected"), [("float16", None, "float16"), ("float16", "float32", "float32")]
)
def test_dtype_of_the_bias(weight: str, bias: str | None, expected: str) -> None:
    op = conv_in(weight, bias=False)
    if bias:
        op = replace(op, detail=replace(op.detail, bias=parameter("b", np.ones(6, bias))))
    new = new_parameters(op, LayerEdit(outer=along(1, 6, 3, np.random.default_rng(0))))
    assert (new.bias.dtype, new.weight.dtype) == (expected, weight)


def test_no_bias_where_none_is_needed_and_no_weight_touched_where_none_changes() -> None:
    op = conv_in("float32", bias=False)
    scale = LayerEdit(outer=Affine(np.full((1, 6, 1), 2.0), np.zeros((1, 1, 1))))
    assert new_parameters(op, scale).bias is None
    shift = LayerEdit(outer=Affine(np.ones((1, 1, 1)), np.ones((1, 6, 1))))
    assert isinstance(op.detail, Conv)
    assert new_parameters(op, shift).weight is op.detail.weight.read()
    assert (changes_weight(scale), changes_weight(shift)) == (True, False)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (5,)), (-2, (5, 1))])
def test_shape_of_a_new_bias_of_a_linear_layer(axis: int, shape: tuple[int, ...]) -> None:
    net = GraphNet(4, 4)
    net.linear(net.x, 5, axis=axis)
    uniform = LayerEdit(outer=Affine(np.ones((1, 1, 1)), np.ones((1, 1, 1))))
    for edit in (uniform, LayerEdit(outer=along(3 + axis, 5, 3, np.random.default_rng(0)))):
        assert new_parameters(net.ops[-1], edit).bias.shape == shape


def test_stored_values_are_not_changed() -> None:
    op = conv_in("float32")
    assert isinstance(op.detail, Conv)
    before = op.detail.weight.read().copy()
    new_parameters(op, LayerEdit(outer=along(1, 6, 3, np.random.default_rng(0))))
    assert np.array_equal(op.detail.weight.read(), before)


def test_read_only_and_transposed_weights() -> None:
    weight = np.asfortranarray(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))
    weight.flags.writeable = False
    op = Op("l", "linear", "MatMul", ("x",), ("y",), Linear(parameter("w", weight)))
    outer = along(1, 5, 2, np.random.default_rng(1))
    new = new_parameters(op, LayerEdit(outer=outer)).weight
    assert np.array_equal(new, (weight.astype(np.float64) * outer.scale).astype(np.float32))
    assert new.flags.c_contiguous


@pytest.mark.parametrize(
    "make",
    [
        lambda w: Conv(parameter("w", w.reshape(512, 512, 2, 8))),
        lambda w: Conv(parameter("w", w.reshape(2048, 2048, 1, 1)), groups=4, transposed=True),
        lambda w: Linear(parameter("w", w.reshape(2048, 2048))),
        lambda w: Linear(parameter("w", w.reshape(2048, 2048)), out_axis=-2, in_axis=-1),
    ],
)
def test_extra_memory_does_not_grow_with_the_weight(make: Callable[[object], Conv | Linear]) -> None:
    detail = make(np.zeros(2048 * 2048, np.float32))
    op = Op("l", "linear", "L", ("x",), ("y",), detail)
    rank = len(detail.weight.shape)
    (axis, before), (_, after) = (channels_of(detail, rank, out=out) or (0, 0) for out in (False, True))
    random = np.random.default_rng(0)
    inner = along(axis, before, rank, random)
    tracemalloc.start()
    new = new_parameters(op, LayerEdit(inner, along(axis, after, rank, random)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - new.weight.nbytes < 4 * 8 * BLOCK + 1_000_000


@given(st.tuples(st.integers(0, 5), st.integers(0, 700), st.integers(0, 700), st.integers(0, 9)))
def test_blocks_cover_everything_once(shape: tuple[int, int, int, int]) -> None:
    seen = np.zeros(shape[:2], np.int64)
    for where in blocks(shape):
        assert seen[where].size * shape[2] * shape[3] <= max(BLOCK, shape[2] * shape[3])
        seen[where] += 1
    assert (seen == 1).all()


def test_an_op_without_parameters_is_a_mistake() -> None:
    net = GraphNet(4, 3)
    net.relu(net.x)
    with pytest.raises(TypeError, match="Relu takes no fold up"):
        new_parameters(net.ops[-1], LayerEdit())


def test_group_norm_takes_what_comes_after_along_its_channels() -> None:
    net = GraphNet(4, 3)
    net.norm(net.x)
    norm = net.ops[-1].detail
    assert isinstance(norm, Norm)
    detail = replace(norm, scale=None, shift=None, layer=replace(norm.layer, kind="group_norm"))
    outer = along(1, 4, 3, np.random.default_rng(0))
    new = new_parameters(replace(net.ops[-1], detail=detail), LayerEdit(outer=outer))
    np.testing.assert_allclose(new.weight, norm.layer.gamma * outer.scale.ravel())
    np.testing.assert_allclose(new.bias, norm.layer.beta * outer.scale.ravel() + outer.shift.ravel())


def test_scale_shift_is_float64() -> None:
    op = Op("m", "scale_shift", "Mul", ("x",), ("y",), ScaleShift(np.ones((1, 3)), np.zeros((1, 1))))
    assert new_parameters(op, LayerEdit(outer=along(1, 3, 2, np.random.default_rng(0)))).weight.dtype == np.float64
