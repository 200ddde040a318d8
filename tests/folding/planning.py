"""Planning a hand-made net, with the folded graph held against the original."""

from __future__ import annotations

from typing import Any

from normdiag.folding.plan import plan_folds
from normdiag.records import FoldPlan, FoldStep, Refusal
from tests.folding.interpret import agree, run
from tests.nets.op_graph import GraphNet, feeds

BOTH = frozenset({"batch", "layer"})


def planned(net: GraphNet, *outputs: str, norms: frozenset[str] = BOTH) -> FoldPlan:
    graph = net.graph(*outputs)
    plan = plan_folds(graph, norms)
    inputs = feeds(net)
    assert agree(run(graph, inputs, net.shapes), run(graph, inputs, net.shapes, plan), outputs), plan
    return plan


def only(plan: FoldPlan) -> FoldStep:
    assert not plan.refusals
    (step,) = plan.steps
    return step


def nothing(plan: FoldPlan) -> bool:
    """Whether the plan neither does nor refuses anything."""
    return not (plan.steps or plan.refusals or plan.edits or plan.removed or plan.norms)


def stays(plan: FoldPlan) -> Refusal:
    assert not plan.steps
    assert not plan.edits
    (refusal,) = plan.refusals
    return refusal


def bn(net: GraphNet, x: str, **options: Any) -> str:
    return net.relu(net.norm(x, name="bn", **options))


def planned_only(net: GraphNet, *outputs: str, **facts: Any) -> FoldPlan:
    return plan_folds(net.graph(*outputs, **facts), BOTH)
