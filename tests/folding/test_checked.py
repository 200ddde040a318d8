"""Plans whose numbers fit their dtypes, and the copies they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from normdiag.folding.checked import checked_plan
from normdiag.folding.floats import as_dtype
from normdiag.records import Conv, Linear, Op, OpGraph, Refusal
from tests.folding.interpret import agree, run
from tests.folding.networks import networks
from tests.nets.op_graph import GraphNet, feeds, parameter

BOTH = frozenset({"batch", "layer"})


def stored_as(graph: OpGraph, dtype: str) -> OpGraph:
    """The same graph with every parameter of its convolutions and linear layers in this dtype."""

    def cast(op: Op) -> Op:
        detail = op.detail
        if not isinstance(detail, Conv | Linear):
            return op
        found = {word: getattr(detail, word) for word in ("weight", "bias") if getattr(detail, word)}
        new = {w: replace(p, dtype=dtype, read=lambda p=p: p.read().astype(as_dtype(dtype))) for w, p in found.items()}
        return replace(op, detail=replace(detail, **new))

    return replace(graph, ops=tuple(map(cast, graph.ops)), dtypes=dict.fromkeys(graph.sizes, dtype))


def conv_bn(gamma: Any = 1.0, *, weight: float = 1.0, dtype: str = "float16", after: bool = False) -> OpGraph:
    net = GraphNet(4, 7)
    x = net.relu(net.x) if after else net.x
    x = net.norm(x, gamma=gamma, beta=0, mean=0, name="bn") if after else x
    x = net.conv(x, 4, weight=parameter("w", np.full((4, 4, 3), weight)), name="conv")
    x = x if after else net.norm(x, gamma=gamma, name="bn")
    return stored_as(net.graph(net.relu(x)), dtype)


def test_overflow_is_refused_with_its_layer_and_channels() -> None:
    plan = checked_plan(conv_bn([1.0, 1e6, -1e6, 0.0]))
    (refusal,) = plan.refusals
    assert refusal.reason.startswith("its weights would overflow float16 in 2 channels of 'conv'")
    assert refusal.at == "conv"
    assert not plan.edits


def test_a_scale_that_overflows_is_not_put_down_to_the_shift() -> None:
    """Before a padded layer the shift could stay, were it not for the scale."""
    net = GraphNet(4, 7)
    x = net.norm(net.relu(net.x), gamma=1e5, name="bn")
    x = net.conv(x, 4, weight=parameter("w", np.full((4, 4, 3), 1.0)), padded=True, name="conv")
    for dtype, stays in (("float16", True), ("float32", False)):
        plan = checked_plan(stored_as(net.graph(net.relu(x)), dtype))
        assert [step.shift_stays for step in plan.steps] == [True] * (not stays)
        assert ["would overflow float16" in each.reason for each in plan.refusals] == [True] * stays
        assert not any("pads" in each.reason for each in plan.refusals)


@pytest.mark.parametrize(("dtype", "folds"), [("float16", False), ("bfloat16", True), ("float32", True)])
def test_what_overflows_depends_on_the_dtype(dtype: str, folds: bool) -> None:
    assert bool(checked_plan(conv_bn(1e6, dtype=dtype)).steps) is folds


def test_a_bias_that_overflows_is_refused() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 4, name="conv"), beta=[0, 7e4, 0, 0], mean=0)
    (refusal,) = checked_plan(stored_as(net.graph(net.relu(y)), "float16")).refusals
    assert refusal.reason.startswith("the bias would overflow float16 in 1 channel of 'conv'")


def test_weights_that_vanish_are_refused() -> None:
    (refusal,) = checked_plan(conv_bn(1e-5, weight=1e-2)).refusals
    assert "its weights would be too small for float16 in 4 channels of 'conv'" in refusal.reason


def test_zeros_and_channels_that_are_nothing_beside_the_rest_lose_nothing() -> None:
    assert checked_plan(conv_bn(0.0)).steps
    assert checked_plan(conv_bn([1.0, 1e-39, 1e-42, 0.0], dtype="float32")).steps


def test_loss_ahead_counts_per_input_channel() -> None:
    """One column of weights vanishes beside others that do not."""
    (refusal,) = checked_plan(conv_bn([1.0, 1.0, 1e-5, 1.0], weight=1e-2, after=True)).refusals
    assert "its weights would be too small for float16 in 1 channel of 'conv'" in refusal.reason


def test_what_does_not_fit_before_may_fit_after() -> None:
    net = GraphNet(4, 7)
    small = parameter("w", np.full((4, 4, 3), 1e-3))
    x = net.conv(net.x, 4, weight=parameter("v", np.full((4, 4, 3), 1.0)), name="large")
    y = net.norm(x, gamma=1e6, beta=0, mean=0)
    plan = checked_plan(stored_as(net.graph(net.relu(net.conv(y, 4, weight=small, name="small"))), "float16"))
    assert [(step.direction, step.into) for step in plan.steps] == [("after", ("small",))]


def test_only_the_norm_to_blame_stays() -> None:
    """The second overflows; the first and the third do not, and go."""
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, name="conv")
    for name, gamma in (("a", 1.0), ("b", 1e6), ("c", 0.5)):
        x = net.norm(x, gamma=gamma, mean=0, beta=0, name=name)
    plan = checked_plan(stored_as(net.graph(net.relu(x)), "float16"))
    assert [(step.norm, step.into) for step in plan.steps] == [("a", ("conv",)), ("c", ("b",))]
    assert [refusal.norm for refusal in plan.refusals] == ["b"]


def test_a_norm_beside_the_one_to_blame_goes() -> None:
    net = GraphNet(4, 7)
    left, right = net.split(net.conv(net.x, 4, name="conv"), 2, 2)
    outputs = (net.norm(left, gamma=1e6, mean=0, beta=0, name="left"), net.norm(right, name="right"))
    plan = checked_plan(stored_as(net.graph(*outputs), "float16"))
    assert [(step.norm, step.into) for step in plan.steps] == [("right", ("conv",))]
    assert [refusal.norm for refusal in plan.refusals] == ["left"]


def test_what_fits_in_the_end_is_not_refused_for_what_came_between() -> None:
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, name="conv")
    for name, gamma in (("a", 1e6), ("b", 1e-6)):
        x = net.norm(x, gamma=gamma, mean=0, beta=0, name=name)
    assert len(checked_plan(stored_as(net.graph(net.relu(x)), "float16")).steps) == 2


def test_weights_that_are_not_finite_take_nothing_up() -> None:
    (refusal,) = checked_plan(conv_bn(weight=float("nan"), dtype="float32")).refusals
    assert "the weight of Conv 'conv' holds values that are not finite" in refusal.reason


def test_overflow_of_float64_itself() -> None:
    (refusal,) = checked_plan(conv_bn(1e300, weight=1e300, dtype="float64")).refusals
    assert "its weights would overflow float64" in refusal.reason


def test_denied_norms_stay_denied() -> None:
    graph = conv_bn(1.0)
    assert checked_plan(graph, denied={1: Refusal("bn", "batch_norm", "because")}).refusals[0].reason == "because"


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks())
def test_in_float64_everything_fits(made: tuple[GraphNet, OpGraph]) -> None:
    net, graph = made
    inputs = feeds(net)
    plan = checked_plan(graph, BOTH)
    assert agree(run(graph, inputs, net.shapes), run(graph, inputs, net.shapes, plan), graph.outputs)


def two_readers(*, second_norm: bool) -> OpGraph:
    net = GraphNet(4, 7)
    weights = {
        name: parameter("w", np.ones((4, 4, 3), np.float32), shared_with=(other,))
        for name, other in (("one", "two"), ("two", "one"))
    }
    x = net.norm(net.conv(net.x, 4, weight=weights["one"], name="one"))
    x = net.conv(net.relu(x), 4, weight=weights["two"], name="two")
    return net.graph(net.relu(net.norm(x) if second_norm else x))


@pytest.mark.parametrize("second_norm", [False, True])
def test_a_shared_weight_is_copied_once(second_norm: bool) -> None:
    """Where both readers get new values, the second of them is the copy."""
    (copy,) = checked_plan(two_readers(second_norm=second_norm)).copies
    assert (copy.parameter, copy.bytes) == ("w", 4 * 4 * 3 * 4)
    assert (copy.layer, copy.shared_with) == (("two", ("one",)) if second_norm else ("one", ("two",)))


def test_what_only_a_norm_that_goes_shares_is_no_copy() -> None:
    net = GraphNet(4, 7)
    bias = parameter("b", np.ones(4), shared_with=("bn",))
    x = net.norm(net.conv(net.x, 4, name="conv"), name="bn")
    net.ops[0] = replace(net.ops[0], detail=replace(net.ops[0].detail, bias=bias))
    assert checked_plan(net.graph(x)).copies == ()


def test_a_shift_alone_copies_no_weight() -> None:
    net = GraphNet(4, 7)
    weight = parameter("w", np.ones((4, 4, 3)), shared_with=("elsewhere",))
    x = net.scale_shift(net.conv(net.x, 4, weight=weight), scale=np.ones(4), layer=True)
    plan = checked_plan(net.graph(x))
    assert plan.steps
    assert plan.copies == ()


def test_reading_happens_no_more_often_than_needed() -> None:
    reads: dict[str, int] = {}

    def counted(name: str, values: Any) -> Any:
        def read() -> Any:
            reads[name] = reads.get(name, 0) + 1
            return values

        return replace(parameter(name, values), read=read)

    net = GraphNet(4, 7)
    x = net.x
    for name in ("one", "two", "three"):
        gamma: Mapping[str, Any] = {"gamma": 1e6} if name == "two" else {}
        x = net.relu(
            net.norm(net.conv(x, 4, padded=True, weight=counted(name, np.ones((4, 4, 3), np.float16))), **gamma)
        )
    checked_plan(net.graph(x))
    assert reads["one"] == reads["three"] == 1
