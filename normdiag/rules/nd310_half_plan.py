"""ND310: norms that must stay in float32 where the model runs in half precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule

if TYPE_CHECKING:
    from normdiag.records.precision import KeptNorm

FORMATS = {"fp16": "float16", "bf16": "bfloat16"}


@rule("ND310", "half-plan", "error", error=0.1)
def half_plan(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """In half precision the model only gives its outputs if these norms stay in float32, as running it so shows.

    What it means: with `--target fp16` or `bf16` the model is run on a few samples with all tensors in the format, and
    again with fewer and fewer norms in float32, until only those are left that it cannot do without. Norms store their
    squares, sums and means in the format there.

    Why it matters: a sum of squares that overflows makes a norm's output zero, an infinite input makes it NaN, and all
    that follows is lost without an error message.

    Which severity: an error where the output is off by more than 0.1 of its RMS (limit `error`) without the norm even
    in kernels that sum in float32, or is not finite; a warning where only kernels that store their sums lose it.
    PyTorch's LayerNorm and most fused kernels sum in float32; norms spelled out in operators, and some engines, do not.

    How to fix it: keep these norms in float32; the report has the arguments for TensorRT, onnxruntime, ModelOpt and
    PyTorch. Or take bfloat16, which has the range of float32. Where norms do not suffice, the values of the layers
    before them are too large themselves.

    Silent without `--target`, on random data, and where the model could not be run in the format: the report says so.
    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.
    """
    half = context.report.half
    if half is None or half.plan is None or not is_measured(context.report):
        return
    plan, name = half.plan, FORMATS[half.target]
    if not plan.sufficient:
        off = "not finite" if not math.isfinite(plan.all_kept) else f"off by {plan.all_kept:.2g} of its RMS"
        where = "" if plan.lost is None else f"; {plan.lost} is the first to put out what is not finite"
        yield FindingDraft(
            layers=(),
            text=f"in {name} the output is {off}, even with every norm in float32{where}",
            remedy="Keep the layers whose values do not fit in float32 too, or use bfloat16.",
            evidence={"error": plan.all_half, "norms_kept": plan.all_kept},
        )
        return
    for each in plan.kept:
        yield FindingDraft(
            layers=(each.layer,),
            text=f"must stay in float32: in {name} the output is {_off(each)}",
            remedy=f"Keep it in float32: with the norms of the plan there, the output is off by {plan.planned:.2g}.",
            evidence={"error": each.error, "error_with_float32_sums": each.own_error, "planned": plan.planned},
            severity="error" if (each.own_error or 0.0) > limits["error"] else "warning",
        )


def _off(each: KeptNorm) -> str:
    if each.error is None:
        return "lost without it"
    return f"off by {each.error:.2g} of its RMS without it" if math.isfinite(each.error) else "not finite without it"
