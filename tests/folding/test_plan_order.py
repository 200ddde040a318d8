"""Several norms, layers after them, shifts that stay, layer norms, and what is not asked for; folded and compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.folding.plan import plan_folds
from normdiag.records import Norm, OpGraph, Size
from tests.folding.planning import BOTH, nothing, only, planned
from tests.nets.op_graph import GraphNet, parameter


def test_a_chain_of_norms_goes_into_one_layer() -> None:
    net = GraphNet(4, 7)
    y = net.conv(net.x, 6, name="conv")
    for _ in range(3):
        y = net.norm(y)
    plan = planned(net, y)
    assert [step.into for step in plan.steps] == [("conv",)] * 3
    assert len(plan.removed) == 3
    assert set(plan.edits) == {0}


def test_a_chain_that_cannot_go_becomes_one_norm() -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.relu(net.norm(net.norm(net.norm(net.relu(net.x), name="a"), name="b"), name="c")))
    assert [(step.norm, step.direction, step.into) for step in plan.steps] == [
        ("b", "norm", ("a",)),
        ("c", "norm", ("a",)),
    ]
    assert [refusal.norm for refusal in plan.refusals] == ["a"]


def test_a_chain_ahead_of_a_layer_goes_into_it() -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.conv(net.norm(net.norm(net.relu(net.x), name="a"), name="b"), 3, name="conv"))
    assert {step.norm: (step.direction, step.into) for step in plan.steps} == {
        "b": ("after", ("conv",)),
        "a": ("after", ("conv",)),
    }
    assert not plan.refusals


def test_a_norm_without_parameters_is_gone_through_once_it_is_gone() -> None:
    """The second cannot go into the first, which has no gamma; both go ahead."""
    net = GraphNet(4, 7)
    first = net.norm(net.relu(net.x), gamma=1.0, beta=0.0, name="a")
    net.ops[-1] = replace(net.ops[-1], detail=replace(net.ops[-1].detail, gamma=None, beta=None))
    plan = planned(net, net.conv(net.norm(first, name="b"), 3, name="conv"))
    assert {step.norm: step.into for step in plan.steps} == {"a": ("conv",), "b": ("conv",)}


def test_all_readers_take_what_goes_ahead() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.relu(net.x))
    outputs = (net.conv(y, 3, name="one"), net.linear(y, 2, axis=-2, name="two"))
    assert set(only(planned(net, *outputs)).into) == {"one", "two"}


def test_the_input_of_a_norm_that_goes_ahead_may_have_other_readers() -> None:
    net = GraphNet(4, 7)
    x = net.conv(net.x, 4, name="before")
    step = only(planned(net, net.conv(net.norm(x), 3, name="after"), net.relu(x)))
    assert (step.direction, step.into) == ("after", ("after",))


def test_a_scale_alone_passes_padding() -> None:
    net = GraphNet(4, 7)
    step = only(planned(net, net.conv(net.norm(net.relu(net.x), beta=0, mean=0), 3, padded=True)))
    assert (step.direction, step.shift_stays) == ("after", False)
    net = GraphNet(4, 7)
    step = only(planned(net, net.conv(net.norm(net.relu(net.x), beta=0, mean=0), 3, transposed=True)))
    assert not step.shift_stays


@pytest.mark.parametrize("options", [{"padded": True}, {"transposed": True}])
def test_the_shift_stays_ahead_of_padding(options: dict[str, bool]) -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.conv(net.norm(net.relu(net.x), name="bn"), 3, **options))
    step = only(plan)
    assert (step.direction, step.shift_stays, step.whole) == ("after", True, True)
    assert (plan.removed, set(plan.shifts), plan.shifts[1].shape) == ((), {1}, (1, 4, 1))


def test_the_shift_cannot_stay_where_the_scale_is_zero() -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.conv(net.norm(net.relu(net.x), gamma=[0, 1, 0, 1]), 3, padded=True))
    assert "its scale is zero in 2 channels" in plan.refusals[0].reason
    assert not plan.edits


def test_a_shift_that_would_overflow_does_not_stay_alone() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.relu(net.x), gamma=1e-6, beta=1.0, mean=0)
    graph = net.graph(net.conv(y, 3, padded=True), dtypes={y: "float16"})
    assert "the shift alone would overflow float16" in plan_folds(graph).refusals[0].reason


def test_plain_scales_and_shifts_go_too_and_are_not_counted() -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.relu(net.scale_shift(net.conv(net.x, 6, name="conv"))), net.scale_shift(net.relu(net.x)))
    assert [(step.kind, step.into) for step in plan.steps] == [("scale_shift", ("conv",))]
    assert (plan.norms, plan.refusals) == (0, ())


def test_plain_scales_go_into_layers_alone() -> None:
    """Two of them made one, or one put into the gamma of a norm, would be another optimization than folding."""
    net = GraphNet(4, 7)
    assert nothing(planned(net, net.relu(net.scale_shift(net.scale_shift(net.relu(net.x))))))
    net = GraphNet(4, 7)
    scaled = net.scale_shift(net.layer_norm(net.relu(net.x)), axis=-1)
    assert nothing(planned(net, net.relu(scaled), norms=frozenset({"batch"})))


def test_a_decomposed_norm_counts_as_a_norm() -> None:
    net = GraphNet(4, 7)
    plan = planned(net, net.scale_shift(net.conv(net.x, 6), layer=True), net.scale_shift(net.relu(net.x), layer=True))
    assert (plan.norms, len(plan.steps), len(plan.refusals)) == (2, 1, 1)
    assert plan.steps[0].kind == "batch_norm"


def test_gamma_and_beta_of_a_layer_norm_go_into_what_follows() -> None:
    net = GraphNet(5, 4)
    y = net.layer_norm(net.relu(net.x), name="ln")
    plan = planned(net, *(net.linear(y, 3, name=name) for name in ("q", "k", "v")))
    step = only(plan)
    assert (step.direction, set(step.into), step.whole) == ("after", {"q", "k", "v"}, False)
    assert (plan.stripped, plan.removed) == ((1,), ())


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_layer_norms_are_left_alone_unless_asked_for(kind: str) -> None:
    net = GraphNet(5, 4)
    y = net.linear(net.layer_norm(net.relu(net.x), kind=kind, beta=kind == "layer_norm"), 3)
    plan = planned(net, y, norms=frozenset({"batch"}))
    assert nothing(plan)
    assert planned(net, y).norms == 1


def test_a_batch_norm_goes_into_the_gamma_of_a_layer_norm_and_on() -> None:
    net = GraphNet(5, 4)
    y = net.transpose(net.layer_norm(net.relu(net.x), name="ln"), 0, 2, 1)
    y = net.linear(net.transpose(net.norm(y, name="bn"), 0, 2, 1), 3, name="fc")
    plan = planned(net, y)
    assert {step.norm: (step.direction, step.into) for step in plan.steps} == {
        "bn": ("norm", ("ln",)),
        "ln": ("after", ("fc",)),
    }
    assert (set(plan.edits), plan.stripped) == ({5}, (1,))


def test_an_rms_norm_takes_a_scale_and_no_shift() -> None:
    for shift, folded in ((0.0, 1), (1.0, 0)):
        net = GraphNet(5, 4)
        y = net.layer_norm(net.relu(net.x), kind="rms_norm", beta=False)
        plan = planned(net, net.scale_shift(y, axis=2, shift=np.full(4, shift), layer=True))
        assert sum(step.kind == "batch_norm" for step in plan.steps) == folded


def test_same_parts_of_an_add_go_ahead_together() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.relu(net.x))
    only(planned(net, net.conv(net.add(y, net.through(y), signs=(1, 1)), 3)))


def test_instance_norm_with_running_statistics_folds_like_batch_norm() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 6))
    detail = net.ops[-1].detail
    assert isinstance(detail, Norm)
    net.ops[-1] = replace(net.ops[-1], detail=replace(detail, layer=replace(detail.layer, kind="instance_norm")))
    plan = plan_folds(net.graph(y))
    assert (plan.steps[0].kind, plan.norms) == ("instance_norm", 1)


def test_norms_that_measure_their_input_are_neither_asked_for_nor_refused() -> None:
    net = GraphNet(4, 7)
    y = net.norm(net.conv(net.x, 6))
    detail = net.ops[-1].detail
    assert isinstance(detail, Norm)
    moments = replace(detail, scale=None, shift=None, layer=replace(detail.layer, kind="group_norm"))
    net.ops[-1] = replace(net.ops[-1], detail=moments)
    assert nothing(plan_folds(net.graph(y), BOTH))


def test_a_weight_that_is_shared_is_edited_all_the_same() -> None:
    net = GraphNet(4, 7)
    weight = parameter("w", net.values(4, 4, 3), shared_with=("two",))
    y = net.norm(net.conv(net.x, 4, weight=weight, name="one"))
    assert only(planned(net, net.conv(y, 4, weight=weight, name="two"))).into == ("one",)


def test_a_whole_small_network() -> None:
    """A residual network in small: all norms go but the one whose input goes on beside it."""
    net = GraphNet(3, 6, 6)
    x = net.relu(net.norm(net.conv(net.x, 8, padded=True)))
    for _ in range(2):
        y = net.relu(net.norm(net.conv(x, 8, padded=True, bias=False)))
        y = net.norm(net.conv(y, 8, padded=True, bias=False))
        x = net.relu(net.add(x, y))
    plan = planned(net, net.linear(net.flatten(net.pool(x, "GlobalAveragePool")), 5))
    assert (plan.norms, len(plan.steps), plan.refusals) == (5, 5, ())


def test_a_graph_without_norms() -> None:
    net = GraphNet(3, 6)
    assert nothing(planned(net, net.conv(net.x, 2)))
    assert nothing(plan_folds(OpGraph((), (), ())))


def test_free_sizes_fold_like_known_ones() -> None:
    net = GraphNet(3, 6, 6, dynamic=True)
    y = net.pool(net.norm(net.conv(net.x, 4)), "GlobalAveragePool")
    assert net.sizes[net.ops[0].outputs[0]][2] != Size(4)
    assert len(planned(net, net.linear(net.flatten(net.norm(y)), 5)).steps) == 2


def test_a_layer_that_transposes_its_input_takes_it_up_along_the_other_axis() -> None:
    net = GraphNet(4, 7)
    y = net.linear(net.norm(net.relu(net.x)), 5, axis=-1, transposed=True, name="fc")
    step = only(planned(net, y))
    assert (step.direction, step.into) == ("after", ("fc",))
    net = GraphNet(4, 7)
    y = net.linear(net.norm(net.relu(net.x)), 5, axis=-2, transposed=True, name="fc")
    assert "do not lie along" in planned(net, y).refusals[0].reason


def test_a_scale_goes_into_a_norm_that_gives_its_own_on() -> None:
    """Both shifts stay, each ahead of its padding."""
    net = GraphNet(4, 7)
    y = net.pool(net.norm(net.relu(net.x), name="a"), "PaddedPool")
    plan = planned(net, net.conv(net.norm(y, name="b"), 3, padded=True, name="conv"))
    assert [(step.norm, step.into, step.shift_stays) for step in plan.steps] == [
        ("a", ("b",), True),
        ("b", ("conv",), True),
    ]
    assert set(plan.edits) == {4}


def test_a_shift_without_a_scale_is_an_add_already() -> None:
    net = GraphNet(4, 7)
    y = net.scale_shift(net.relu(net.x), scale=np.ones(4), layer=True)
    plan = planned(net, net.conv(y, 3, padded=True))
    assert (plan.steps, len(plan.refusals)) == ((), 1)


def test_branches_that_need_no_change_need_not_be_foldable() -> None:
    net = GraphNet(4, 7)
    joined = net.concat(net.conv(net.x, 4, padded=True, name="conv"), net.relu(net.x))
    plan = planned(net, net.scale_shift(joined, scale=[2.0] * 4 + [1.0] * 4, shift=[1.0] * 4 + [0.0] * 4, layer=True))
    assert only(plan).into == ("conv",)
    net = GraphNet(4, 7)
    total = net.add(net.relu(net.x), net.conv(net.x, 4, padded=True, name="conv"))
    assert only(planned(net, net.scale_shift(total, scale=np.ones(4), layer=True))).into == ("conv",)
    net = GraphNet(4, 7)
    y = net.scale_shift(net.relu(net.x), scale=[1.0, 1.0, 2.0, 3.0], shift=[0.0, 0.0, 1.0, 0.0], layer=True)
    same, changed = net.split(y, 2, 2)
    assert only(planned(net, net.relu(same), same, net.conv(changed, 3, name="conv"))).into == ("conv",)


def test_layers_and_norms_together_are_the_layers_before() -> None:
    net = GraphNet(4, 7)
    first = net.norm(net.relu(net.x), name="first")
    joined = net.concat(net.conv(net.x, 4, padded=True, name="conv"), first)
    step = next(step for step in planned(net, net.norm(joined, name="bn")).steps if step.norm == "bn")
    assert (step.direction, set(step.into)) == ("before", {"conv", "first"})


def test_only_norms_become_an_add() -> None:
    """A plain scale and shift ahead of padding is left as it is."""
    net = GraphNet(4, 7)
    assert nothing(planned(net, net.conv(net.scale_shift(net.relu(net.x)), 3, padded=True)))
