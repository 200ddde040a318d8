"""Plans for a model whose code stays as it is: parameters get other values, and nothing is added or taken away."""

from __future__ import annotations

import numpy as np

from normdiag.folding.plan import plan_folds
from normdiag.folding.weights import new_parameters
from normdiag.records import FoldPlan, Linear, Norm, ScaleShift
from tests.nets.op_graph import GraphNet

LAYER = frozenset({"layer"})


def planned(net: GraphNet, *outputs: str) -> FoldPlan:
    return plan_folds(net.graph(*outputs, fixed=True), LAYER)


def test_a_layer_without_a_bias_absorbs_gamma_alone() -> None:
    net = GraphNet(5, 6)
    y = net.linear(net.layer_norm(net.x, name="norm"), 4, name="fc")
    plan = planned(net, y)
    (step,) = plan.steps
    assert step.norm == "norm" and step.shift_stays and not step.whole
    (index,) = plan.shifts
    norm = net.ops[index].detail
    assert isinstance(norm, Norm) and norm.gamma and norm.beta
    gamma, beta = norm.gamma.read(), norm.beta.read()
    assert np.allclose(plan.shifts[index].reshape(-1), beta / gamma)
    (layer,) = plan.edits
    fc = net.ops[layer].detail
    assert isinstance(fc, Linear)
    new = new_parameters(net.ops[layer], plan.edits[layer])
    assert new.bias is None
    x = net.random.normal(size=(7, 6))
    right = (gamma * x + beta) @ fc.weight.read()
    assert np.allclose((x + plan.shifts[index].reshape(-1)) @ new.weight, right)


def test_a_bias_absorbs_beta_too() -> None:
    net = GraphNet(5, 6)
    plan = planned(net, net.linear(net.layer_norm(net.x, name="norm"), 4, bias=(4,), name="fc"))
    assert [step.shift_stays for step in plan.steps] == [False]
    assert not plan.shifts and len(plan.stripped) == 1


def test_gamma_of_zero_leaves_no_place_for_beta() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, gamma=np.array([1.0, 0.0, 2.0, 1.0, 1.0, 1.0]), name="norm")
    plan = planned(net, net.linear(x, 4, name="fc"))
    (refusal,) = plan.refusals
    assert "has no bias to absorb its beta" in refusal.reason and "zero in 1 channel" in refusal.reason


def test_scalar_constants_stay_where_they_are() -> None:
    net = GraphNet(5, 6)
    x = net.layer_norm(net.x, name="norm")
    number = ScaleShift(np.full((1, 1, 1), 0.5), np.full((1, 1, 1), 3.0))
    halved = net._op("scale_shift", "Mul", [x], net.shapes[x], number, "half")
    plan = planned(net, net.linear(halved, 4, bias=(4,), name="fc"))
    (step,) = plan.steps
    assert step.through == ("half",) and not plan.removed
    (layer,), (index,) = plan.edits, plan.stripped
    norm, fc = net.ops[index].detail, net.ops[layer].detail
    assert isinstance(norm, Norm) and norm.gamma and norm.beta and isinstance(fc, Linear) and fc.bias
    new = new_parameters(net.ops[layer], plan.edits[layer])
    data = net.random.normal(size=(7, 6))
    right = (0.5 * (norm.gamma.read() * data + norm.beta.read()) + 3.0) @ fc.weight.read() + fc.bias.read()
    assert new.bias is not None
    assert np.allclose((0.5 * data + 3.0) @ new.weight + new.bias, right)


def test_layer_norms_that_were_not_asked_for_are_counted() -> None:
    net = GraphNet(5, 6)
    y = net.linear(net.layer_norm(net.layer_norm(net.x), kind="rms_norm", beta=False), 4)
    graph = net.graph(y)
    assert plan_folds(graph).not_asked == {"layer_norm": 1, "rms_norm": 1}
    assert not plan_folds(graph, LAYER).not_asked
