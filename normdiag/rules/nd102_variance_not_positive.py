"""ND102: a running variance of zero or below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND102", "variance-not-positive", "error")
def variance_not_positive(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A running variance is negative (error) or exactly zero (a warning, unless the whole layer is zero).

    Why it matters: no data has a negative variance, so the buffer is damaged (a wrong tensor loaded, a failed
    conversion, averaging with negative weights), and below -eps the output is NaN. A variance of zero means that the
    channel was constant throughout training, so the layer divides by sqrt(eps): the smallest change of the input is
    magnified, 316 times with eps = 1e-5. All of a layer at zero means that the buffer was never filled.

    How to fix it: load the right buffers or recalibrate; prune channels that are constant for good.

    Source: Ioffe and Szegedy 2015, algorithm 2 (inference uses E[x] and Var[x] of the training data).
    """
    for metrics in context.report.layers:
        layer = metrics.layer
        if layer.running_var is None:
            continue
        var = np.asarray(layer.running_var, np.float64)
        negative, zero = int((var < 0).sum()), int((var == 0).sum())
        if negative or zero:
            counts = {"negative": negative, "zero": zero}
            what = " and ".join(f"{count} {sign}" for sign, count in counts.items() if count)
            yield FindingDraft(
                layers=(layer.name,),
                text=f"running_var of {var.size} channels: {what}",
                remedy="Load the right buffers, or recalibrate the statistics on training data.",
                evidence={"negative": negative, "zero": zero, "channels": var.size, "min": float(np.nanmin(var))},
                severity="error" if negative or zero == var.size else "warning",
            )
