"""Random small PyTorch networks: folded, the output is the same, and as many norms go as brute force finds."""

from __future__ import annotations

import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.folding.test_random_onnx import EXAMPLES, SLOW
from tests.folding.zoo.count import foldable
from tests.folding.zoo.emit_torch import RandomNet
from tests.folding.zoo.grammar import Network, networks
from tests.folding.zoo.oracle import TOLERANCE
from tests.folding.zoo.run import fold_torch


@settings(max_examples=max(EXAMPLES // 4, 1), suppress_health_check=SLOW)
@given(st.one_of(networks(), networks(wild=True)))
def test_folded_and_the_same(network: Network) -> None:
    """In float64. Exporting costs most of the time, so that one test does both: the count, where it is known."""
    note(str(network))
    net = RandomNet(network)
    x = torch.randn(2, *network.parts[0].shape, dtype=torch.float64)
    outcome = fold_torch(net, (x,))
    plan = outcome.plan
    note(str(plan.steps))
    note(str(plan.refusals))
    folded = outcome.model
    with torch.no_grad():
        for data in (x, 20 * x[:1]):
            for expected, got in zip(net(data), folded(data), strict=True):
                scale = max(1.0, float(expected.abs().max()))
                assert (expected - got).abs().max() <= TOLERANCE["float64"] * scale
    named = [each for each in (*plan.steps, *plan.refusals) if each.kind != "scale_shift"]
    assert len(named) == plan.norms
    if not network.wild:
        gone = [step for step in plan.steps if step.kind != "scale_shift" and not step.shift_stays]
        assert len(gone) >= foldable(network).least
