"""Integers, numbers that are not finite, shapes that contradict each other: nothing is folded, nothing raises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.records import Conv, Linear
from tests.folding.planning import bn, nothing, planned_only, stays
from tests.nets.op_graph import GraphNet, parameter


@pytest.mark.parametrize("tensor", ["conv_out", "identity0_out"])
def test_integers_are_not_scaled(tensor: str) -> None:
    """After an exact cast from integers there is nothing that could hold a fraction."""
    net = GraphNet(4, 7)
    x = net.through(net.conv(net.x, 4, name="conv"))
    plan = planned_only(net, bn(net, x), dtypes={tensor: "int32"})
    assert f"{tensor!r}" in stays(plan).reason
    assert "holds int32" in stays(plan).reason


@pytest.mark.parametrize(
    "conv",
    [
        Conv(parameter("w", np.ones((4, 4, 3))), parameter("b", np.ones(3))),
        Conv(parameter("w", np.ones((4, 2, 3))), groups=0),
        Conv(parameter("w", np.ones((4, 2, 3))), groups=3),
        Conv(parameter("w", np.ones(4))),
        Conv(parameter("w", np.ones((5, 4, 3)))),
        Linear(parameter("w", np.ones(5))),
        Linear(parameter("w", np.ones((7, 5))), channel_axis=-1),
        Linear(parameter("w", np.ones((4, 4))), parameter("b", np.ones((3, 1))), channel_axis=-2),
    ],
)
def test_shapes_that_contradict_each_other(conv: Conv | Linear) -> None:
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, name="layer")
    net.ops[0] = replace(net.ops[0], detail=conv)
    assert "do not" in stays(planned_only(net, bn(net, x))).reason
    ahead = GraphNet(4, 7)
    y = ahead.conv(ahead.norm(ahead.relu(ahead.x), name="bn"), 4, name="layer")
    ahead.ops[-1] = replace(ahead.ops[-1], detail=replace(conv, padded=False) if isinstance(conv, Conv) else conv)
    plan = planned_only(ahead, y)
    assert not plan.steps or conv.weight.shape[0] == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("word", ["scale", "shift"])
def test_numbers_that_are_not_finite(word: str, bad: float) -> None:
    net = GraphNet(4, 7)
    y = net.scale_shift(net.conv(net.x, 4), layer=True, **{word: [1.0, bad, 0.0, 2.0]})
    assert stays(planned_only(net, y)).reason == "its scale or shift is not finite in some channels"


def test_arithmetic_with_integers_is_left_alone() -> None:
    net = GraphNet(4, 7)
    y = net.scale_shift(net.conv(net.x, 4))
    assert planned_only(net, y, dtypes={y: "float16"}).steps
    assert nothing(planned_only(net, y, dtypes={y: "int64"}))
