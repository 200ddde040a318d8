"""What folds where, rule by rule: each case says which layers take the norms up, and the folded graph agrees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from normdiag.records import FoldStep
from tests.folding.planning import only, planned
from tests.nets.op_graph import GraphNet

INTO_BEFORE: dict[str, Callable[[GraphNet], str]] = {
    "convolution": lambda net: net.conv(net.x, 6, name="layer"),
    "without a bias": lambda net: net.conv(net.x, 6, bias=False, name="layer"),
    "in groups, padded": lambda net: net.conv(net.x, 6, groups=2, padded=True, name="layer"),
    "transposed": lambda net: net.conv(net.x, 6, groups=2, transposed=True, name="layer"),
    "constant on the left": lambda net: net.linear(net.x, 6, axis=-2, upright=True, name="layer"),
    "linear on the last axis": lambda net: net.transpose(
        net.linear(net.transpose(net.x, 0, 2, 1), 6, name="layer"), 0, 2, 1
    ),
    "transposed input": lambda net: net.linear(net.x, 6, axis=-2, transposed=True, name="layer"),
    "scale and shift": lambda net: net.scale_shift(net.relu(net.x), name="layer"),
    "constant": lambda net: net.add(net.constant(1, 4, 7, name="layer"), net.conv(net.x, 4, padded=True, name="other")),
}


@pytest.mark.parametrize("name", INTO_BEFORE)
def test_into_the_layer_before(name: str) -> None:
    net = GraphNet(4, 7)
    step = next(s for s in planned(net, net.norm(INTO_BEFORE[name](net), name="bn")).steps if s.norm == "bn")
    assert (step.direction, step.whole, step.shift_stays) == ("before", True, False)
    assert "layer" in step.into


def test_into_a_linear_layer_of_rank_two() -> None:
    net = GraphNet(4)
    step = only(planned(net, net.norm(net.linear(net.x, 6, bias=(6,), name="fc"), name="bn")))
    assert step == FoldStep("bn", "batch_norm", "before", ("fc",), (), 6)


def test_the_output_of_the_norm_may_be_anything() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 6))
    only(planned(net, y, net.relu(y), net.pool(y, "MaxPool")))


def test_unknown_sizes_do_not_matter_right_behind_a_convolution() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 6))
    net.sizes.clear()
    only(planned(net, y))


THROUGH: dict[str, Callable[[GraphNet, str], str]] = {
    "identity": lambda net, x: net.through(x),
    "positive scale through a maximum": lambda net, x: net.pool(x, "MaxPool"),
    "average": lambda net, x: net.pool(x, "AveragePool"),
    "global average": lambda net, x: net.pool(x, "GlobalAveragePool"),
    "mean": lambda net, x: net.pool(x, "ReduceMean"),
    "resize": lambda net, x: net.resize(x),
    "flatten": lambda net, x: net.flatten(x),
    "transpose": lambda net, x: net.transpose(x, 0, 2, 1),
}


@pytest.mark.parametrize("name", THROUGH)
def test_back_through(name: str) -> None:
    net = GraphNet(4, 7)
    between = THROUGH[name](net, net.conv(net.x, 6, name="conv"))
    gamma = np.linspace(0, 2, net.shapes[between][1])
    plan = planned(net, net.norm(between, gamma=gamma, name="bn"))
    if name in ("flatten", "transpose"):
        assert "its channels do not lie along those of Conv 'conv'" in plan.refusals[0].reason
    else:
        step = only(plan)
        assert (step.into, step.through) == (("conv",), (net.ops[1].name,))


@pytest.mark.parametrize("name", THROUGH)
def test_ahead_through(name: str) -> None:
    """Into a layer that has no border to get wrong."""
    net = GraphNet(4, 7)
    between = THROUGH[name](net, net.norm(net.x, gamma=np.linspace(0, 2, 4), name="bn"))
    between = net.transpose(between, 0, 2, 1) if name == "transpose" else between
    rank = len(net.shapes[between])
    y = net.linear(between, 3, name="fc") if rank == 2 else net.conv(between, 3, kernel=1, name="fc")
    step = only(planned(net, y))
    assert (step.direction, step.into) == ("after", ("fc",))
    assert net.ops[1].name in step.through


def test_channel_shuffle() -> None:
    net = GraphNet(4, 7)
    y = net.reshape(net.conv(net.x, 6, groups=2, name="conv"), (2, 3, 5))
    y = net.reshape(net.transpose(y, 0, 2, 1, 3), (6, 5))
    assert only(planned(net, net.norm(y))).into == ("conv",)


def test_branches_of_a_concat_get_their_shares() -> None:
    net = GraphNet(4, 7)
    branches = (net.conv(net.x, 2, name="left"), net.conv(net.x, 4, name="right"))
    assert set(only(planned(net, net.norm(net.concat(*branches)))).into) == {"left", "right"}


def test_two_norms_behind_a_split_meet_in_one_layer() -> None:
    net = GraphNet(4, 7)
    left, right = net.split(net.conv(net.x, 6, name="conv"), 2, 4)
    plan = planned(net, net.norm(left), net.norm(right))
    assert [step.into for step in plan.steps] == [("conv",)] * 2


def test_split_and_joined_again() -> None:
    net = GraphNet(4, 7)
    left, right = net.split(net.conv(net.x, 6, name="conv"), 2, 4)
    assert only(planned(net, net.norm(net.concat(right, left)))).into == ("conv",)


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1)])
def test_all_branches_of_an_add(signs: tuple[int, int]) -> None:
    net = GraphNet(4, 7)
    y = net.add(net.conv(net.x, 6, name="left"), net.conv(net.x, 6, name="right"), signs=signs)
    assert set(only(planned(net, net.norm(y))).into) == {"left", "right"}


def test_the_shift_goes_to_the_branch_that_can_take_it() -> None:
    net = GraphNet(4, 7)
    padded = net.pool(net.conv(net.x, 6, name="left"), "PaddedPool")
    step = only(planned(net, net.norm(net.add(padded, net.conv(net.x, 6, name="right")))))
    assert set(step.into) == {"left", "right"}
