"""Running one op on changed data, to hold the rules for going through it against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from normdiag.folding.follow import downstream, upstream
from normdiag.folding.obstacle import Obstacle
from normdiag.records import Affine, Op, OpGraph, Size
from tests.folding.interpret import run
from tests.nets.op_graph import GraphNet

N = Size(1, ("n",))


def channelwise(
    shape: Sequence[int], axis: int = 1, *, positive: bool = False, shift: bool = True, seed: int = 3
) -> Affine:
    random = np.random.default_rng(seed)
    size = [1] * len(shape)
    size[axis] = shape[axis]
    scale = random.uniform(0.5, 2, size) if positive else random.normal(size=size)
    return Affine(scale, random.normal(size=size) if shift else np.zeros([1] * len(shape)))


def last_op(net: GraphNet) -> tuple[Op, OpGraph]:
    graph = net.graph(*net.ops[-1].outputs)
    return graph.ops[-1], graph


def apply(maps: Mapping[int, Affine], values: list[object]) -> list[object]:
    return [maps[i].scale * v + maps[i].shift if i in maps else v for i, v in enumerate(values)]


def evaluate(net: GraphNet, inputs: list[object]) -> list[object]:
    """The last op alone."""
    op = net.ops[-1]
    alone = OpGraph((op,), op.inputs, op.outputs)
    values = run(alone, dict(zip(op.inputs, inputs, strict=True)), net.shapes)
    return [values[name] for name in op.outputs]


def check_up(net: GraphNet, wanted: dict[int, Affine]) -> dict[int, Affine]:
    """Changing the inputs as upstream says changes the outputs as wanted."""
    op, graph = last_op(net)
    found = upstream(op, wanted, graph)
    assert isinstance(found, dict), found
    inputs = [np.random.default_rng(i).normal(size=net.shapes[name]) for i, name in enumerate(op.inputs)]
    for expected, got in zip(apply(wanted, evaluate(net, inputs)), evaluate(net, apply(found, inputs)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    return found


def check_down(net: GraphNet, known: dict[int, Affine]) -> dict[int, Affine]:
    """Where the inputs are `known` of others, the outputs are what downstream says of theirs."""
    op, graph = last_op(net)
    found = downstream(op, known, graph)
    assert isinstance(found, dict), found
    inputs = [np.random.default_rng(i).normal(size=net.shapes[name]) for i, name in enumerate(op.inputs)]
    for expected, got in zip(evaluate(net, apply(known, inputs)), apply(found, evaluate(net, inputs)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    return found


def refused(net: GraphNet, wanted: dict[int, Affine], reason: str, *, down: bool = False) -> Obstacle:
    op, graph = last_op(net)
    found = (downstream if down else upstream)(op, wanted, graph)
    assert isinstance(found, Obstacle), found
    assert reason in found.reason
    assert found.at == op.name
    return found
