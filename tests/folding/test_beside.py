"""Which tap of a kernel reads the position that it writes; a norm beside a layer that cannot store what comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.folding.checked import checked_plan
from normdiag.folding.layout import tap
from normdiag.folding.weights import new_parameters
from normdiag.records import Affine, Conv, LayerEdit, Op, Parameter
from tests.folding.test_checked import stored_as
from tests.nets.op_graph import GraphNet


def conv(kernel: tuple[int, ...], groups: int = 1, channels: int = 4, **changes: object) -> Conv:
    weight = np.random.default_rng(0).normal(size=(channels, channels // groups, *kernel))
    parameter = Parameter("w", weight.shape, "float64", lambda: weight)
    count = len(kernel)
    pads = tuple((k - 1) // 2 for k in kernel) + tuple(k // 2 for k in kernel)
    plain = Conv(parameter, None, groups, strides=(1,) * count, dilations=(1,) * count, pads=pads)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        (conv((3, 3)), 4),
        (conv((1,)), 0),
        (conv((2, 5)), 2),
        (conv((3, 3), pads=(2, 0, 0, 2)), 6),
        (conv((3,), dilations=(2,), pads=(2, 2)), 1),
        (conv((3, 3), strides=(2, 2)), None),
        (conv((3, 3), pads=(0, 0, 0, 0)), None),
        (conv((2,), dilations=(2,), pads=(1, 1)), None),
        (conv((3,), pads=(3, -1)), None),
        (conv((3,), transposed=True), None),
        (conv((3,), pads=None), None),
        (conv((3,), strides=None), None),
    ],
)
def test_the_tap_that_reads_the_position_it_writes(layer: Conv, place: int | None) -> None:
    assert tap(layer) == place


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("channels", [4, 700])
def test_what_is_added_lies_on_the_diagonal_of_each_group(groups: int, channels: int) -> None:
    """Of weights in one block and in several."""
    layer, factors = conv((3,), groups, channels), np.arange(1.0, channels + 1)
    added = Affine(factors.reshape(1, -1, 1), np.zeros((1, 1, 1)))
    new = new_parameters(Op("c", "conv", "Conv", ("x",), ("y",), layer), LayerEdit(added=added)).weight
    difference = new - layer.weight.read()
    inside = channels // groups
    for out in range(channels):
        expected = np.zeros((inside, 3))
        expected[out % inside, 1] = factors[out]
        np.testing.assert_allclose(difference[out], expected, atol=1e-9)


@pytest.mark.parametrize(("gamma", "goes"), [(1.0, True), (1e6, False)])
def test_a_norm_whose_sum_does_not_fit_the_weight_stays(gamma: float, goes: bool) -> None:
    net = GraphNet(4, 7)
    x = net.relu(net.x)
    total = net.add(net.conv(x, 4, kernel=1, name="conv"), net.norm(x, gamma=gamma, beta=0, mean=0, name="bn"))
    graph = stored_as(net.graph(net.relu(total)), "float16")
    located = {"strides": (1,), "dilations": (1,), "pads": (0, 0)}
    ops = [replace(op, detail=replace(op.detail, **located)) if isinstance(op.detail, Conv) else op for op in graph.ops]
    graph = replace(graph, ops=tuple(replace(op, nodes=(index,)) for index, op in enumerate(ops)))
    plan = checked_plan(graph)
    assert [step.direction for step in plan.steps] == (["beside"] if goes else [])
    assert len(plan.refusals) == (0 if goes else 1) and bool(plan.edits) == goes
