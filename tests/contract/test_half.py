"""One suite, both backends: which norms have to stay in float32, and what half precision does to each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from normdiag.records import Report
from normdiag.records.precision import HalfPrecision
from tests.contract.test_backends import BACKENDS
from tests.nets.digits import digits_cnn
from tests.precision.transformer import RMSNorm, Transformer, exported, inputs

NORMS = [f"blocks.{block}.{name}" for block in range(2) for name in ("norm1", "norm2")] + ["norm"]


def inspected(backend: str, model: nn.Module, folder: Path, target: Any = "fp16") -> Report:
    given = exported(model, folder / "m.onnx") if backend == "onnx" else model
    return normdiag.inspect(given, inputs(32), target=target)


def half_of(report: Report) -> HalfPrecision:
    assert report.half is not None
    return report.half


@pytest.mark.parametrize(("target", "looked"), [(None, False), ("fp32", False), ("int8", True)])
def test_targets_that_are_no_half_precision_run_nothing_in_it(target: Any, looked: bool) -> None:
    report = normdiag.inspect(Transformer(), inputs(), target=target)
    assert report.half is None and bool(report.outliers) == looked


def test_both_backends_see_the_same_outliers_at_the_same_tokens(tmp_path: Path) -> None:
    """One feature of the residual is 500 at the third token, and everything else as small as it was."""

    class Massive(Transformer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spike = torch.zeros(6, 32)
            spike[2, 11] = 500.0
            x = self.embed(x) * 0.1 + spike
            return self.head(self.norm(x + self.blocks[0](x) * 0.0))

    for report in (inspected(backend, Massive(), tmp_path) for backend in BACKENDS):
        found = {each.layer: each for each in report.outliers}["norm"]
        (one,) = found.massive
        assert (one.feature, one.tokens, one.values) == (11, (2,), 4)
        assert one.largest == pytest.approx(500.0, abs=1.0) and one.ratio > 1000
        assert found.features == (11,) and found.groups == 24
        assert found.rotated_crest is not None and found.rotated_crest < found.crest
        roles = {each.layer: each.role for each in report.roles}
        assert roles["blocks.0.norm1"] == "pre"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", [RMSNorm, nn.LayerNorm])
def test_the_one_norm_that_overflows_is_named_and_the_mixed_model_is_healthy(
    backend: str, norm: Any, tmp_path: Path
) -> None:
    report = inspected(backend, Transformer(norm, 1000.0), tmp_path)
    plan = half_of(report).plan
    assert plan is not None and [each.layer for each in plan.kept] == ["norm"]
    assert plan.sufficient and plan.minimal
    assert plan.all_half > 0.1 > 20 * plan.planned and plan.planned < 2 * plan.all_kept
    assert plan.kept[0].error == plan.all_half
    severity = [each.severity for each in report.findings if each.rule == "ND310"]
    if norm is nn.LayerNorm:  # a fused kernel: PyTorch's and onnxruntime's add up in float32
        assert plan.own_half < 0.003 and plan.kept[0].own_error == plan.own_half
        assert severity == ["warning"]
    else:  # squares that are written out overflow everywhere
        assert plan.own_half > 0.1 and severity == ["error"]
    assert [each.cause for each in report.diagnosis] == ["half_precision"]
    assert report.verdict == "problem"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", [RMSNorm, nn.LayerNorm])
@pytest.mark.parametrize(("target", "raised"), [("fp16", 1.0), ("bf16", 1.0), ("bf16", 1000.0)])
def test_a_healthy_model_keeps_nothing_and_bfloat16_overflows_nowhere(
    backend: str, norm: Any, target: str, raised: float, tmp_path: Path
) -> None:
    report = inspected(backend, Transformer(norm, raised), tmp_path, target)
    plan = half_of(report).plan
    assert plan is not None and plan.kept == () and plan.sufficient
    assert 0 < plan.planned == plan.all_half < (0.004 if target == "fp16" else 0.032)
    assert not [each for each in report.findings if each.rule in ("ND306", "ND310") and each.severity != "info"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_norm_that_overflows_and_changes_nothing_is_not_kept(backend: str, tmp_path: Path) -> None:
    """The MLP that reads it adds to a residual that is thousands of times as large."""
    model = Transformer(RMSNorm)
    with torch.no_grad():
        for value in model.blocks[-1].out.parameters():
            value.mul_(2000.0)
    half = half_of(inspected(backend, model, tmp_path))
    assert half.plan is not None and [each.layer for each in half.plan.kept] == ["norm"]
    assert {each.layer for each in half.norms if each.errors["pairwise"] > 0.3} == {"blocks.1.norm2", "norm"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_norm_sums_nothing_and_is_run_all_the_same(backend: str, samples: Path) -> None:
    data = [str(samples / "digits.npz")]
    given: Any = samples / "digits_cnn.onnx"
    if backend == "pytorch":
        given = digits_cnn()
    half = half_of(normdiag.inspect(given, data=data, target="fp16"))
    assert half.norms == () and half.plan is not None and half.plan.kept == ()
    assert 0 < half.plan.all_half < half.plan.limit and half.plan.runs == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_norms_that_overflow_are_both_needed(backend: str, tmp_path: Path) -> None:
    model = Transformer(RMSNorm)
    with torch.no_grad():  # both sub-layers of the last block: its second norm sees the one, the last norm both
        for value in (*model.blocks[-1].out.parameters(), *model.blocks[-1].down.parameters()):
            value.mul_(2000.0)
    plan = half_of(inspected(backend, model, tmp_path)).plan
    assert plan is not None and {each.layer for each in plan.kept} == {"blocks.1.norm2", "norm"}
    assert plan.sufficient and all((each.error or 0) > plan.limit for each in plan.kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_that_do_not_fit_by_themselves_are_no_norms_fault(backend: str, tmp_path: Path) -> None:
    report = inspected(backend, Transformer(RMSNorm, 1e6), tmp_path)
    plan = half_of(report).plan
    assert plan is not None and plan.kept == () and not plan.sufficient
    assert not np.isfinite(plan.all_kept)
    (finding,) = [each for each in report.findings if each.rule == "ND310"]
    assert finding.layers == () and finding.severity == "error"
    assert plan.lost is not None and plan.lost.replace("/", ".").strip(".").startswith("blocks.1.down")
    assert plan.lost in finding.text


@pytest.mark.parametrize("target", ["fp16", "bf16"])
def test_both_backends_simulate_the_same_norms_on_the_same_groups(target: Any, tmp_path: Path) -> None:
    model = Transformer(RMSNorm, 1000.0)
    here, there = (half_of(inspected(backend, model, tmp_path, target)).norms for backend in BACKENDS)
    assert [each.layer for each in here] == [each.layer for each in there] == NORMS
    for one, two in zip(here, there, strict=True):
        assert (one.group_size, one.groups, one.kind) == (two.group_size, two.groups, two.kind) == (32, 24, "rms_norm")
        assert one.largest_sum == pytest.approx(two.largest_sum, rel=0.05)
        assert dict(one.errors) == pytest.approx(dict(two.errors), rel=0.1)


def test_the_simulation_is_that_of_the_norms_own_input() -> None:
    model = Transformer(RMSNorm, 30.0)
    seen: dict[str, np.ndarray] = {}

    def look(_: nn.Module, args: tuple[torch.Tensor]) -> None:
        seen.setdefault("x", args[0].numpy().reshape(-1, 32).copy())

    model.norm.register_forward_pre_hook(look)
    norms = half_of(normdiag.inspect(model, inputs(4), target="fp16")).norms
    x = seen["x"].astype(np.float64)
    exact = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6)
    half = seen["x"].astype(np.float16)
    mean = ((half * half).astype(np.float32).sum(1, keepdims=True) / np.float32(32)).astype(np.float16)
    made = half / np.sqrt(mean + np.float16(1e-6))
    wanted = np.linalg.norm(made.astype(np.float64) - exact) / np.linalg.norm(exact)
    assert norms[-1].errors["float32_sums"] == pytest.approx(wanted, rel=0.05)


def test_made_up_data_give_no_plan(tmp_path: Path) -> None:
    path = exported(Transformer(RMSNorm, 1000.0), tmp_path / "m.onnx")
    options = normdiag.DataOptions(input_shapes=("2x6x8",))
    report = normdiag.inspect(path, data=["random"], data_options=options, target="fp16")
    assert report.half is None and any("no precision plan for fp16: made-up data" in note for note in report.notes)
    report = normdiag.inspect(path, target="bf16")
    assert any("no precision plan for bf16: it takes data" in note for note in report.notes)
    assert not any("precision plan" in note for note in normdiag.inspect(path, target="int8").notes)
