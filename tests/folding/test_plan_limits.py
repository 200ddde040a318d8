"""How long planning may take: near-linear on what is real, bounded on what is made to take long."""

from __future__ import annotations

import time

import numpy as np

from normdiag.folding.plan import plan_folds
from normdiag.records import FoldPlan
from tests.nets.op_graph import GraphNet, parameter


def timed(net: GraphNet, *outputs: str) -> tuple[float, FoldPlan]:
    graph = net.graph(*outputs)
    started = time.process_time()
    plan = plan_folds(graph)
    return time.process_time() - started, plan


def test_ten_thousand_ops() -> None:
    net = GraphNet(8, 4)
    weight, x = parameter("w", np.zeros((8, 8, 3))), net.x
    for _ in range(3333):
        x = net.relu(net.norm(net.conv(x, 8, padded=True, weight=weight)))
    seconds, plan = timed(net, x)
    assert len(plan.steps) == 3333
    assert seconds < 5


def test_walks_meet_every_op_once() -> None:
    """Two thousand splits that are joined again: 2 ** 2000 paths."""
    net = GraphNet(4, 4)
    x = net.conv(net.x, 4)
    for _ in range(2000):
        x = net.concat(*net.split(x, 2, 2))
    seconds, plan = timed(net, net.norm(x))
    assert (len(plan.steps), len(plan.refusals)) == (1, 0)
    assert seconds < 5


def test_a_graph_made_to_take_long_ends_in_refusals() -> None:
    """Every norm reaches the convolution through all the joins after it."""
    net = GraphNet(4, 4)
    x = net.relu(net.x)
    for _ in range(800):
        x = net.concat(x, net.norm(net.x))
    seconds, plan = timed(net, net.conv(x, 1))
    assert any("too entangled to follow" in refusal.reason for refusal in plan.refusals)
    assert len(plan.steps) + len(plan.refusals) == 800
    assert seconds < 10
