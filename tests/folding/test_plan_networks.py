"""Whatever the network, what a plan leaves of it gives the same output, and every norm is accounted for."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, event, given, settings

from normdiag.folding.plan import plan_folds
from normdiag.records import Norm, OpGraph, ScaleShift
from tests.folding.interpret import agree, run
from tests.folding.networks import networks
from tests.nets.op_graph import GraphNet, feeds

BOTH = frozenset({"batch", "layer"})


def asked(graph: OpGraph) -> list[str]:
    details = [op.detail for op in graph.ops]
    norms = [d.layer for d in details if isinstance(d, Norm)]
    return [layer.name for layer in norms] + [d.norm.name for d in details if isinstance(d, ScaleShift) and d.norm]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_the_folded_network_computes_the_same(made: tuple[GraphNet, OpGraph]) -> None:
    net, graph = made
    plan = plan_folds(graph, BOTH)
    for step in plan.steps:
        event(f"{step.direction}{' shift stays' if step.shift_stays else ''}{'' if step.whole else ' gamma only'}")
    inputs = feeds(net)
    before, after = run(graph, inputs, net.shapes), run(graph, inputs, net.shapes, plan)
    assert agree(before, after, graph.outputs)
    assert all(np.isfinite(before[name]).all() for name in graph.outputs)
    kept = [step.norm for step in plan.steps if step.kind != "scale_shift"] + [r.norm for r in plan.refusals]
    assert Counter(kept) == Counter(asked(graph))
    assert plan.norms == len(kept)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_pinned_tensors_keep_their_values(made: tuple[GraphNet, OpGraph]) -> None:
    net, graph = made
    plan = plan_folds(graph, BOTH)
    inputs = feeds(net)
    before, after = run(graph, inputs, net.shapes), run(graph, inputs, net.shapes, plan)
    assert agree(before, after, tuple(graph.pinned))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_every_reason_is_a_short_clause(made: tuple[GraphNet, OpGraph]) -> None:
    for refusal in plan_folds(made[1], BOTH).refusals:
        assert 10 < len(refusal.reason) <= 400
        assert "{" not in refusal.reason
        assert not refusal.reason.endswith(".")
        assert refusal.reason[0].islower() or refusal.reason[0] == "'" or refusal.at
