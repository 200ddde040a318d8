"""Every PyTorch module of the zoo: what folds, what is not and why; the output is the same, the module untouched."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.folding.zoo import torch_after, torch_before, torch_beside, torch_joins
from tests.folding.zoo.oracle import TOLERANCE
from tests.folding.zoo.run import fold_torch
from tests.folding.zoo.torch_case import COUNTED, TorchCase

FAMILIES = {"before": torch_before, "joins": torch_joins, "beside": torch_beside, "after": torch_after}
CASES = [
    pytest.param(case, id=f"{family}-{case.name}") for family, module in FAMILIES.items() for case in module.ZOO.cases
]


@pytest.mark.parametrize("case", CASES)
def test_the_zoo(case: TorchCase) -> None:
    check(case)


def check(case: TorchCase) -> None:
    """Fold it, and hold the plan, the program, its outputs and the caller's module to what the case says."""
    module = case.module()
    before = snapshot(module)
    outcome = fold_torch(module, case.inputs(), case.norms)
    assert snapshot(module) == before
    plan = outcome.plan
    norms = [step for step in plan.steps if step.kind != "scale_shift"]
    stay = [refusal for refusal in plan.refusals if refusal.kind != "scale_shift"]
    assert len(norms) + len(stay) == plan.norms
    if case.folded is not None:
        assert (len(norms), len(stay)) == (case.folded, len(case.refused)), plan
    for refusal, reason in zip(stay, case.refused, strict=False):
        assert refusal.norm
        assert re.search(reason, f"{refusal.reason} {refusal.at}"), refusal
    assert arithmetic(outcome.program) in case.left.split("|"), plan
    same_outputs(case, module, outcome.model)


def same_outputs(case: TorchCase, module: nn.Module, folded: nn.Module) -> None:
    """In float64, at two magnitudes and at another batch size."""
    for batch, magnitude in ((None, 1.0), (3, 20.0)):
        inputs = case.inputs(batch, magnitude)
        with torch.no_grad():
            expected, got = (flat(net(*inputs)) for net in (module, folded))
        assert len(expected) == len(got)
        for one, other in zip(expected, got, strict=True):
            assert one.shape == other.shape
            assert (one - other).abs().max() <= TOLERANCE["float64"] * one.abs().max()


def flat(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def snapshot(module: nn.Module) -> Any:
    """Every tensor bit by bit and by identity, and every flag."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    values = [(name, id(t), t.dtype, t.requires_grad, t.detach().numpy().tobytes()) for name, t in tensors]
    parts = [(name, type(part), part.training, sorted(vars(part))) for name, part in module.named_modules()]
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    return values, parts, hooks


def arithmetic(program: torch.export.ExportedProgram) -> str:
    """The norms and elementwise arithmetic on data, in order."""
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    found = [
        next((kind for kind in COUNTED if re.match(rf"aten\._?(native_|fused_)?{kind}", name)), "") for name in names
    ]
    return " ".join(filter(None, found))


@pytest.mark.parametrize("training", [True, False])
def test_a_module_in_training_mode_is_folded_as_in_eval_and_stays_as_it_is(training: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()).double()
    module.train(training)
    module[1].eval()
    before = snapshot(module)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    outcome = fold_torch(module, (x,))
    assert snapshot(module) == before
    assert len(outcome.plan.steps) == 1
    with torch.no_grad():
        torch.testing.assert_close(outcome.model(x), module.eval()(x), rtol=0, atol=1e-10)
