"""Every ONNX graph of the zoo: what folds, what is not and why; the output is the same and the rest of the file too."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from normdiag.records import FoldPlan
from tests.folding.zoo import (
    onnx_after,
    onnx_before,
    onnx_beside,
    onnx_choices,
    onnx_files,
    onnx_joins,
    onnx_layers,
    onnx_numbers,
    onnx_refused,
    onnx_spread,
    onnx_through,
)
from tests.folding.zoo.case import OnnxCase
from tests.folding.zoo.oracle import operators, same_outputs, still_the_same_file
from tests.folding.zoo.run import fold_onnx

FAMILIES = {
    "before": onnx_before,
    "through": onnx_through,
    "joins": onnx_joins,
    "beside": onnx_beside,
    "after": onnx_after,
    "layers": onnx_layers,
    "choices": onnx_choices,
    "numbers": onnx_numbers,
    "refused": onnx_refused,
    "spread": onnx_spread,
    "files": onnx_files,
}
CASES = [
    pytest.param(case, dtype, id=f"{family}-{case.name}-{dtype}")
    for family, module in FAMILIES.items()
    for case in module.ZOO.cases
    for dtype in case.dtypes
]


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_the_zoo(case: OnnxCase, dtype: str, tmp_path: Path) -> None:
    original = case.model(dtype)
    onnx.checker.check_model(original, full_check=True)
    outcome = fold_onnx(original, tmp_path, case.norms)
    plan, folded = outcome.plan, outcome.model
    check_plan(case, plan)
    assert operators(folded) in case.becomes.split("|"), plan
    still_the_same_file(original, folded)
    onnx.checker.check_model(folded, full_check=True)
    if not plan.steps:
        assert folded == original
    elif case.runs:
        same_outputs(original, folded, dtype)
    if case.check is not None:
        case.check(original, folded, plan)


def check_plan(case: OnnxCase, plan: FoldPlan) -> None:
    """As many norms go as the case says, and each that stays has one reason."""
    norms = [step for step in plan.steps if step.kind != "scale_shift"]
    stay = [refusal for refusal in plan.refusals if refusal.kind != "scale_shift"]
    assert len(norms) + len(stay) == plan.norms
    assert all(step.norm and step.into for step in plan.steps)
    if case.folded is not None:
        assert len(norms) == case.folded, plan
        assert len(stay) == len(case.refused), plan
    for refusal, reason in zip(stay, case.refused, strict=False):
        assert refusal.reason
        assert refusal.norm
        assert re.search(reason, f"{refusal.reason} {refusal.at}"), refusal


@pytest.mark.parametrize(("case", "dtype"), [param for param in CASES if param.values[1] == "float32"])
def test_nothing_is_left_to_fold_afterwards(case: OnnxCase, dtype: str, tmp_path: Path) -> None:
    """A folded model has no norm that goes."""
    once = fold_onnx(case.model(dtype), tmp_path, case.norms).model
    again = fold_onnx(once, tmp_path, case.norms)
    assert not again.plan.steps
    assert operators(again.model) == operators(once)
