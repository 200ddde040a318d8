"""A model that is to run in half precision: its norms simulated so, and the plan of those that stay in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from normdiag.errors import InputError
from normdiag.metrics.half_norms import measure_in_half
from normdiag.metrics.outliers import measure_outliers
from normdiag.observe.protocol import Runner
from normdiag.precision.mixed import MixedModel
from normdiag.precision.plan import ROUNDOFF, make_plan
from normdiag.records import Batch, Model, Report, Target
from normdiag.records.precision import Half, HalfPrecision, NormInHalf, NormRows

# Samples that the norms are simulated and the plan is verified on.
HELD = 4
# A norm is suspect where its own error is so many roundings.
SUSPECT = 64.0


def with_narrow(report: Report, model: Model, runner: Runner, first: Batch | None, target: Target | None) -> Report:
    """The report with what a narrow format does to it, on the first samples of the data; as it is for other formats."""
    if target in (None, "fp32") or report.data is None or report.data.random or first is None or report.interrupted:
        return report
    held = first.rows(slice(0, runner.fixed_batch or HELD))
    rows = runner.norm_rows(held)
    seen = [name for name, each in rows.items() if each.kind in ("layer_norm", "rms_norm") and each.rows.size]
    report = replace(report, outliers=tuple(measure_outliers(name, rows[name]) for name in seen))
    return _with_half(report, model, runner, held, rows, target) if target in ("fp16", "bf16") else report


def _with_half(
    report: Report, model: Model, runner: Runner, held: Batch, rows: Mapping[str, NormRows], target: Half
) -> Report:
    norms, plan, why = _norms(report, rows, target), None, None
    try:
        mixed = _mixed(model, runner, target)
        plan = make_plan(mixed, held, target, _suspects(norms, target)) if mixed.norms else None
    except InputError as error:
        why = str(error)
    except KeyboardInterrupt:
        return replace(report, interrupted=True)
    return replace(report, half=HalfPrecision(target, norms, plan, why))


def _norms(report: Report, rows: Mapping[str, NormRows], target: Half) -> tuple[NormInHalf, ...]:
    return tuple(
        measure_in_half(each.layer, each.groups, rows.get(each.layer.name), target)
        for each in report.layers
        if each.groups is not None
    )


def _suspects(norms: tuple[NormInHalf, ...], target: Half) -> list[str]:
    """The norms that half precision harms, the worst first."""
    errors: Mapping[str, float] = {each.layer: each.errors.get("pairwise", 0.0) for each in norms}
    return sorted((name for name in errors if errors[name] > SUSPECT * ROUNDOFF[target]), key=lambda n: -errors[n])


def _mixed(model: Model, runner: Runner, target: Half) -> MixedModel:
    """The backend that runs it; it is imported only here."""
    if model.streamed:
        raise InputError("the plan runs a copy of the whole model in memory, and its weights are streamed")
    if model.info.backend == "onnx":
        from normdiag.observe.onnx import OnnxRunner
        from normdiag.precision.onnx import MixedGraph

        return MixedGraph(cast(OnnxRunner, runner).prepared, target)
    from normdiag.observe.pytorch import TorchRunner
    from normdiag.precision.pytorch import MixedModule

    return MixedModule(model, cast(TorchRunner, runner), target)
