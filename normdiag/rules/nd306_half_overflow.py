"""ND306: the input of a normalization layer outgrows float16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import LayerMetrics
from normdiag.rules.context import Context
from normdiag.rules.half import LARGEST, runs_in_half
from normdiag.rules.rule import FindingDraft, is_measured, rule


@rule("ND306", "half-overflow", "error", sigmas=6.0)
def half_overflow(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """On this data, the input of a normalization layer, its square or the sum of its squares is too large for float16.

    What it means: float16 ends at 65504. LayerNorm, RMSNorm, GroupNorm and InstanceNorm square their input, and the
    square of anything above 255.9 is beyond that. So is the sum of the squares of a group long before: 4096 values of
    RMS 5, none above 25, add up to 102,400. Kernels that square and sum in float32 stand both; a norm that an exporter
    spelled out in single operations does not stand the first, nor do some inference engines stand either. BatchNorm
    with running statistics squares nothing: there the input itself counts, up to |mean| + 6 standard deviations of a
    channel (limit `sigmas`).

    Why it matters: an infinite variance makes the output its bias, an infinite input makes it NaN.

    Which severity: an error where the model is declared for float16 (`--target fp16`) or, without a declaration,
    stored in it, and the input itself is too large or the norm is spelled out; a warning there where it depends on
    the kernel; else information, for the day that somebody converts the model. A sum is only reported where the model
    is declared for float16 or stored in it.

    How to fix it: `normdiag inspect --target fp16` says which of these layers have to stay in float32. Keep them there
    (autocast does), scale the input of a LayerNorm or RMSNorm
    down (its output does not change, but for eps), or use bfloat16, which has the range of float32.

    Silent on random data. Source: IEEE 754-2008, binary16; Micikevicius et al. 2018, Mixed Precision Training.
    """
    if not is_measured(context.report):
        return
    for metrics in context.report.layers:
        largest = metrics.groups.abs_max if metrics.groups is not None else _reach(metrics, limits["sigmas"])
        squared = metrics.groups is not None and metrics.groups.half_overflow
        in_half = runs_in_half(metrics.layer, context.report)
        total = metrics.groups.largest_sum if metrics.groups is not None else 0.0
        if largest is None or not (squared or largest > LARGEST or (in_half and total > LARGEST)):
            continue
        surely = largest > LARGEST or (squared and metrics.layer.origin == "decomposed")
        yield FindingDraft(
            layers=(metrics.layer.name,),
            text=f"{_what(largest, total, squared=squared)} overflows in float16: values up to {largest:.3g}",
            remedy="Keep this layer in float32, or use bfloat16.",
            evidence={"abs_max": largest, "largest_sum": total},
            severity="info" if not in_half else "error" if surely else "warning",
        )


def _what(largest: float, total: float, *, squared: bool) -> str:
    if largest > LARGEST:
        return "its input"
    return "the square of its input" if squared else f"the sum of the squares of its input ({total:.3g})"


def _reach(metrics: LayerMetrics, sigmas: float) -> float | None:
    """The largest |mean| + k standard deviations of the channels of a BatchNorm on the data."""
    layer, drift = metrics.layer, metrics.drift
    if drift is None or layer.running_mean is None or layer.running_var is None or layer.eps is None:
        return None
    s = np.sqrt(np.asarray(layer.running_var, np.float64) + layer.eps)
    reach = np.abs(np.asarray(layer.running_mean, np.float64) + drift.z * s) + sigmas * drift.r * s
    return float(np.max(reach)) if reach.size else None
