"""Random small ONNX networks: folded, the output is the same, and as many norms go as brute force finds."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.folding.zoo.count import foldable
from tests.folding.zoo.emit_onnx import to_onnx
from tests.folding.zoo.grammar import Network, networks
from tests.folding.zoo.oracle import same_outputs, still_the_same_file
from tests.folding.zoo.run import Outcome, fold_onnx

# `python -m tests.folding.nightly` raises this.
EXAMPLES = int(os.environ.get("NORMDIAG_FOLD_EXAMPLES", "150"))
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
OPSETS = st.sampled_from((9, 11, 13, 17, 21))


def fold_and_compare(network: Network, dtype: str, opset: int, folder: Path) -> Outcome:
    note(str(network))
    original = to_onnx(network, dtype, opset)
    outcome = fold_onnx(original, folder)
    note(str(outcome.plan.steps))
    note(str(outcome.plan.refusals))
    still_the_same_file(original, outcome.model)
    onnx.checker.check_model(outcome.model, full_check=True)
    same_outputs(original, outcome.model, dtype, floor=1.0)
    return outcome


@settings(max_examples=EXAMPLES, suppress_health_check=SLOW)
@given(networks(), OPSETS)
def test_no_fold_is_missed(tmp_path: Path, network: Network, opset: int) -> None:
    outcome = fold_and_compare(network, "float32", opset, tmp_path)
    steps = [step for step in outcome.plan.steps if step.kind != "scale_shift"]
    expected = foldable(network)
    folded, shifts = (sum(step.shift_stays == stays for step in steps) for stays in (False, True))
    assert folded >= expected.least
    if folded == expected.least and network.all_positive:  # a sign that one norm hands to another may bar a maximum
        assert bool(shifts) >= bool(expected.shifts)


@settings(max_examples=EXAMPLES // 2, suppress_health_check=SLOW)
@given(networks(wild=True), OPSETS)
def test_never_wrong(tmp_path: Path, network: Network, opset: int) -> None:
    """With constants and instance norms in between, in float64: the tightest bound."""
    outcome = fold_and_compare(network, "float64", opset, tmp_path)
    named = [*outcome.plan.steps, *outcome.plan.refusals]
    norms = [each for each in named if each.kind != "scale_shift"]
    assert len(norms) == outcome.plan.norms
