"""Refusals that say 'rotary embedding' and 'experts' where an operation's name alone would not help."""

from __future__ import annotations

from normdiag.folding.plan import plan_folds
from normdiag.records import FoldPlan, Opaque
from tests.nets.op_graph import GraphNet

LAYER = frozenset({"layer"})


def reason(plan: FoldPlan) -> str:
    (refusal,) = plan.refusals
    return refusal.reason


def opaque(net: GraphNet, operator: str, *inputs: str) -> str:
    return net._op("other", operator, list(inputs), net.shapes[inputs[0]], Opaque("something else"), None)


def rotated(net: GraphNet, x: str, *, exchanged: bool = True) -> str:
    """x * cos + cat(-x2, x1) * sin."""
    first, second = net.split(x, 3, 3, axis=2)
    halves = (net.scale_shift(second, scale=[-1.0] * 5, shift=[0.0] * 5), first)
    turned = net.concat(*(halves if exchanged else (first, second)), axis=2)
    return net.add(opaque(net, "mul", x), opaque(net, "mul", turned))


def test_a_rotary_embedding_is_named() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, beta=False, kind="rms_norm", name="q_norm")
    assert "the rotary embedding is between" in reason(plan_folds(net.graph(rotated(net, x)), LAYER))


def test_halves_that_are_not_exchanged_are_no_rotary_embedding() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, beta=False, kind="rms_norm", name="q_norm")
    assert "rotary" not in reason(plan_folds(net.graph(rotated(net, x, exchanged=False)), LAYER))


def test_a_router_is_named() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, beta=False, kind="rms_norm", name="norm")
    chosen = opaque(net, "topk", net.relu(net.linear(x, 4, name="router")))
    plan = plan_folds(net.graph(chosen, opaque(net, "index", x)), LAYER)
    assert "linear 'router' reads it too and chooses experts" in reason(plan)


def test_a_linear_layer_beside_something_else_is_no_router() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, beta=False, kind="rms_norm", name="norm")
    plan = plan_folds(net.graph(net.relu(net.linear(x, 4, name="fc")), opaque(net, "index", x)), LAYER)
    assert "experts" not in reason(plan)
