"""What stays, and the reason it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normdiag.folding.plan import plan_folds
from normdiag.folding.targets import outer_obstacle
from normdiag.records import Affine, Conv, Linear, NormLayer, OpGraph, Refusal, Size
from tests.folding.planning import BOTH, bn, planned, planned_only, stays
from tests.nets.op_graph import GraphNet, parameter

Made = tuple[GraphNet, tuple[str, ...]]


def second_reader(net: GraphNet) -> tuple[str, ...]:
    x = net.conv(net.x, 4, padded=True, name="conv")
    return (net.add(bn(net, x), x, name="skip"),)


def second_reader_further_up(net: GraphNet) -> tuple[str, ...]:
    x = net.conv(net.x, 4, name="conv")
    return bn(net, net.pool(net.through(x), "AveragePool")), net.relu(x)


def twice(net: GraphNet) -> tuple[str, ...]:
    x = net.conv(net.x, 4, name="conv")
    return (bn(net, net.add(x, x, name="double")),)


def narrow_branch(net: GraphNet) -> tuple[str, ...]:
    return (bn(net, net.add(net.conv(net.x, 4, name="conv"), net.constant(1, 1, 5))),)


def one_branch(net: GraphNet) -> tuple[str, ...]:
    return (bn(net, net.concat(net.conv(net.x, 4, padded=True), net.relu(net.x, name="act"))),)


def only_shift_in_the_way(net: GraphNet) -> tuple[str, ...]:
    """Whose scale is 1, so that nothing is left to fold where the shift cannot go."""
    x = net.pool(net.conv(net.x, 4), "PaddedPool", name="pool")
    return (net.relu(net.scale_shift(x, scale=np.ones(4), layer=True, name="bn")),)


def other_axis(net: GraphNet) -> tuple[str, ...]:
    return (bn(net, net.linear(net.x, 7, name="fc")),)


def zeros_after(net: GraphNet) -> tuple[str, ...]:
    y = net.norm(net.relu(net.x), gamma=0.0, name="bn")
    return (net.conv(y, 3, padded=True, name="conv"),)


def one_reader_cannot(net: GraphNet) -> tuple[str, ...]:
    y = net.norm(net.relu(net.x), name="bn")
    return net.conv(y, 3), net.relu(y, name="act")


REFUSED: dict[str, tuple[Callable[[GraphNet], tuple[str, ...]], str, str]] = {
    "nonlinearity": (
        lambda net: (bn(net, net.relu(net.x, name="act")),),
        "it comes out of Relu 'act', a nonlinearity",
        "act",
    ),
    "graph input": (lambda net: (bn(net, net.x),), "its input 'x' is an input of the graph", "x"),
    "second reader": (second_reader, "its input 'conv_out' is also used by Add 'skip'", "skip"),
    "second reader further up": (second_reader_further_up, "'conv_out' on the way to it is also used by Relu", "relu3"),
    "read twice": (twice, "'conv_out' on the way to it is used twice by Add 'double'", "double"),
    "narrow branch": (narrow_branch, "which Add 'add1' adds, does not have all of its channels", "add1"),
    "one branch of a concat": (one_branch, "it comes out of Relu 'act', a nonlinearity", "act"),
    "padding of a pool": (only_shift_in_the_way, "PaddedPool 'pool' counts zeros from its padding", "pool"),
    "another axis": (other_axis, "its channels do not lie along those of Gemm 'fc'", "fc"),
    "output and nonlinearity": (
        lambda net: (net.norm(net.relu(net.x, name="act"), name="bn"),),
        "a nonlinearity, and its output 'bn_out' is an output of the graph",
        "act",
    ),
    "padding after": (zeros_after, "Conv 'conv' pads with zeros", "relu0"),
    "a reader that cannot": (one_reader_cannot, "and its output goes into Relu 'act', a nonlinearity", "relu0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reason(name: str) -> None:
    build, reason, at = REFUSED[name]
    net = GraphNet(4, 7)
    refusal = stays(planned(net, *build(net)))
    assert refusal.norm == "bn"
    assert reason in refusal.reason
    assert refusal.at == at


@pytest.mark.parametrize("obstacle", ["it is in training mode", "its running variance is negative in some channels"])
def test_what_is_no_fixed_map_says_why(obstacle: str) -> None:
    net = GraphNet(4, 7)
    refusal = stays(planned_only(net, net.norm(net.conv(net.x, 4), name="bn", obstacle=obstacle)))
    assert refusal == Refusal("bn", "batch_norm", obstacle, None)


@pytest.mark.parametrize("word", ["weight", "bias"])
@pytest.mark.parametrize("why", ["is quantized", "is a graph input", "is computed by the graph"])
@pytest.mark.parametrize("layer", ["conv", "linear"])
def test_parameters_that_must_not_change(word: str, why: str, layer: str) -> None:
    net = GraphNet(4) if layer == "linear" else GraphNet(4, 7)
    x = net.linear(net.x, 4, bias=(4,), name="layer") if layer == "linear" else net.conv(net.x, 4, name="layer")
    detail = net.ops[-1].detail
    assert isinstance(detail, Conv | Linear)
    fixed = replace(getattr(detail, word), obstacle=why)
    net.ops[-1] = replace(net.ops[-1], detail=replace(detail, **{word: fixed}))
    refusal = stays(planned_only(net, bn(net, x)))
    assert refusal.reason.startswith(f"the {word} of {net.ops[0].operator} 'layer' {why}, and its output")


@pytest.mark.parametrize("word", ["weight", "bias"])
def test_parameters_of_the_layer_after_that_must_not_change(word: str) -> None:
    net = GraphNet(4, 7)
    y = net.conv(net.norm(net.relu(net.x), name="bn"), 4, name="layer")
    detail = net.ops[-1].detail
    fixed = replace(getattr(detail, word), obstacle="is quantized")
    net.ops[-1] = replace(net.ops[-1], detail=replace(detail, **{word: fixed}))
    assert f"the {word} of Conv 'layer' is quantized" in stays(planned_only(net, y)).reason


def test_a_bias_that_must_not_change_lets_a_scale_pass_ahead_of_it() -> None:
    net = GraphNet(4, 7)
    y = net.conv(net.norm(net.relu(net.x), beta=0, mean=0), 4)
    detail = net.ops[-1].detail
    assert isinstance(detail, Conv)
    assert detail.bias
    net.ops[-1] = replace(net.ops[-1], detail=replace(detail, bias=replace(detail.bias, obstacle="is quantized")))
    assert len(planned(net, y).steps) == 1


def test_weights_of_integers_take_nothing_up() -> None:
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, weight=parameter("w", np.ones((4, 4, 3), np.int8)), name="conv")
    assert "the weight of Conv 'conv' is stored as int8" in stays(planned_only(net, bn(net, x))).reason


@pytest.mark.parametrize("which", ["conv_out", "bn_out"])
def test_pinned_tensors(which: str) -> None:
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, name="conv")
    plan = planned_only(net, bn(net, x), pinned={which: "a subgraph of If 'cond' reads it"})
    if which == "bn_out":
        assert len(plan.steps) == 1  # it keeps its values where its norm goes into the layer before
        return
    assert "its input 'conv_out' must keep its values: a subgraph of If 'cond' reads it" in stays(plan).reason


def test_negative_scales_do_not_pass_a_maximum() -> None:
    net = GraphNet(4, 7)
    y = bn(net, net.pool(net.conv(net.x, 4), "MaxPool", name="pool"), gamma=[1, -1, 0, -2])
    assert "MaxPool 'pool' takes the maximum, and 2 of its scales are negative" in stays(planned(net, y)).reason


def test_a_constant_that_would_widen_the_data_stays() -> None:
    """x has one channel, the factors have four: the product has four channels, and no layer before has them."""
    net = GraphNet(4, 7)
    x = net.conv(net.x, 1, name="conv")
    y = net.scale_shift(net.through(x), scale=[2.0], shift=[1.0], layer=True, name="bn")
    detail = replace(net.ops[-1].detail, scale=np.ones((1, 4, 1)), shift=np.arange(4.0).reshape(1, 4, 1))
    net.ops[-1] = replace(net.ops[-1], detail=detail)
    assert "not known to have as many channels" in stays(planned_only(net, y)).reason
    net.sizes["identity1_out"] = (Size(1, ("n",)), Size(1, ("c",)), Size(5))
    assert "not known to have as many channels" in stays(planned_only(net, y)).reason


def test_norms_that_lie_elsewhere_are_refused_with_the_reason_given() -> None:
    lost = (
        (NormLayer("deep", "batch_norm", "operator"), "it lies in a subgraph"),
        (NormLayer("ln", "layer_norm", "operator"), "it lies in a subgraph"),
        (NormLayer("gn", "group_norm", "operator"), "it lies in a subgraph"),
    )
    graph = OpGraph((), (), (), unreached=lost)
    assert [r.norm for r in plan_folds(graph).refusals] == ["deep"]
    plan = plan_folds(graph, BOTH)
    assert plan.refusals == tuple(Refusal(layer.name, layer.kind, why) for layer, why in lost[:2])
    assert plan.norms == 2


def test_what_is_denied_stays_with_the_reason_given() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 4))
    denied = Refusal("bn1", "batch_norm", "because")
    plan = plan_folds(net.graph(net.norm(y)), denied={1: denied})
    assert plan.refusals == (denied,)
    assert [(step.norm, step.direction) for step in plan.steps] == [("bn2", "norm")]


def test_layer_norm_with_nothing_to_fold() -> None:
    net = GraphNet(4, 7)
    y = net.layer_norm(net.x)
    net.ops[-1] = replace(net.ops[-1], detail=replace(net.ops[-1].detail, gamma=None, beta=None))
    assert stays(planned_only(net, net.linear(y, 2))).reason == "it has no gamma or beta"
    ones = replace(net.ops[0].detail, gamma=parameter("g", np.ones(7)))
    net.ops[0] = replace(net.ops[0], detail=ones)
    assert "nothing to fold" in stays(planned_only(net, net.linear(y, 2))).reason


def test_a_failed_walk_leaves_no_trace() -> None:
    """The left branch could take it up, the right one cannot."""
    net = GraphNet(4, 7)
    left, right = net.split(net.conv(net.x, 6), 3, 3)
    plan = planned(net, bn(net, net.concat(left, net.relu(right))))
    assert (dict(plan.edits), plan.removed) == ({}, ())


def test_long_names_lose_their_middle() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.relu(net.x, name="a" * 1000), name="bn")
    before, after = stays(planned(net, y)).reason.split(", and ")
    assert len(before) == 401 and before.endswith("a', a nonlinearity") and "…" in before
    assert after == "its output 'bn_out' is an output of the graph"


def test_both_directions_are_told_however_long() -> None:
    net = GraphNet(4, 7)
    y = net.relu(net.norm(net.relu(net.x, name="a" * 150), name="bn"), name="b" * 150)
    reason = stays(planned(net, y)).reason
    assert f"comes out of Relu '{'a' * 150}'" in reason and f"goes into Relu '{'b' * 150}'" in reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"beta": None}, "BatchNormalization 'first' has no gamma and beta to take it up"),
        ({"gamma": None}, "BatchNormalization 'first' has no gamma and beta to take it up"),
        (
            {"scale": None, "shift": None, "obstacle": "it is in training mode"},
            "does not take it up: it is in training",
        ),
        ({"gamma": parameter("g", np.ones(3))}, "do not lie along those of BatchNormalization 'first'"),
    ],
)
def test_norms_that_take_nothing_up(changes: dict[str, Any], reason: str) -> None:
    net = GraphNet(4, 7)
    net.norm(net.x, name="first")
    op = replace(net.ops[-1], detail=replace(net.ops[-1].detail, **changes))
    affine = Affine(np.full((1, 4, 1), 2.0), np.ones((1, 4, 1)))
    found = outer_obstacle(op, affine)
    assert found
    assert reason in found.reason
    assert outer_obstacle(net.ops[-1], affine) is None


def test_a_rank_that_is_not_known_names_where_the_data_comes_from() -> None:
    net = GraphNet(4, 5)
    graph = net.graph(bn(net, x := net.relu(net.x, name="relu")))
    hidden = {name for name in graph.sizes if name != net.x}
    plan = plan_folds(replace(graph, sizes={name: size for name, size in graph.sizes.items() if name not in hidden}))
    assert x in hidden
    assert stays(plan).at == "relu"
    assert stays(plan).reason == "it comes out of Relu 'relu', a nonlinearity, and the rank of that is unknown"
