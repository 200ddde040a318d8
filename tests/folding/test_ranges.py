"""Weight ranges per channel before and after a fold."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.folding.plan import plan_folds
from normdiag.folding.ranges import range_spreads
from normdiag.folding.weights import new_parameters
from normdiag.records import RangeSpread
from tests.nets.op_graph import GraphNet, parameter


def test_a_tiny_gamma_wrecks_a_tensor_wide_scale() -> None:
    net = GraphNet(2, 7)
    weight = parameter("w", np.array([1.0, -2.0, 4.0, 0.0]).reshape(4, 1, 1) * np.ones((4, 2, 3)))
    y = net.scale_shift(net.conv(net.x, 4, weight=weight, name="conv"), scale=[1.0, 0.01, 1.0, 1.0])
    graph = net.graph(y)
    (found,) = range_spreads(graph, plan_folds(graph))
    assert found == RangeSpread("conv", 4, 4.0, pytest.approx(200.0), 0, 1)


@pytest.mark.parametrize(("second", "coarse"), [(1.51 / 127, 0), (1.49 / 127, 1)])
def test_one_level_ends_at_one_and_a_half(second: float, coarse: int) -> None:
    net = GraphNet(2, 7)
    y = net.scale_shift(net.conv(net.x, 2, weight=parameter("w", np.ones((2, 2, 3)))), scale=[-1.0, second])
    graph = net.graph(y)
    assert range_spreads(graph, plan_folds(graph))[0].coarse_after == coarse


def test_edits_of_the_input_count_as_the_weights_that_they_make() -> None:
    net = GraphNet(4, 7)
    y = net.linear(net.norm(net.relu(net.x)), 5, axis=-2, name="fc")
    graph = net.graph(y)
    plan = plan_folds(graph)
    (found,) = range_spreads(graph, plan)
    largest = np.abs(new_parameters(graph.ops[2], plan.edits[2]).weight).max(0)
    assert found.spread_after == pytest.approx(largest.max() / largest.min())
    assert found.channels == 5


def test_all_zero_weights_and_layers_that_are_no_products() -> None:
    net = GraphNet(4, 7)
    zero = parameter("w", np.zeros((2, 4, 3)))
    outputs = (net.norm(net.conv(net.x, 2, weight=zero)), net.norm(net.norm(net.relu(net.x))))
    graph = net.graph(*outputs)
    plan = plan_folds(graph)
    assert len(plan.edits) == 2
    assert [(each.spread_after, each.coarse_after) for each in range_spreads(graph, plan)] == [(1.0, 0)]


@pytest.mark.parametrize(("gamma", "coarse"), [(1e-4, 0), (1.0, 1)])
def test_channels_that_their_norm_silences_do_not_count(gamma: float, coarse: int) -> None:
    """Both are as narrow after folding; only the one whose signal goes on would be missed."""
    weight = np.ones((4, 2, 3))
    weight[2] *= 1e-4 / gamma
    net = GraphNet(2, 7)
    conv = net.conv(net.x, 4, weight=parameter("w", weight), name="conv")
    net.norm(conv, gamma=[1.0, 1.0, gamma, 1.0], name="bn")
    graph = net.graph(net.ops[-1].outputs[0])
    (found,) = range_spreads(graph, plan_folds(graph))
    assert found.spread_after > 1000
    assert found.coarse_after == coarse
