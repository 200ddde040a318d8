"""ND307: massive activations in a few channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule

KINDS = frozenset({"layer_norm", "rms_norm"})


@rule("ND307", "outlier-channels", "info", size=100.0, ratio=1000.0)
def outlier_channels(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """The input of a LayerNorm or RMSNorm holds values above 100 that are a thousand times as large as is usual there.

    What it means: massive activations. Some features, at some tokens, are larger than 100 (limit `size`) and at least
    1000 times (limit `ratio`) the median. Usual is here the median over the features of their root mean square.

    Why it matters: they are no fault, trained transformers use them as biases of the attention. But a quantizer with
    one scale loses everything else beside them, float16 is nearly used up, and pruning by size goes wrong. So it is
    information, and a warning where the model is declared for INT8 or float16 (`--target`).

    How to fix it: quantize per channel or keep these layers in higher precision, and leave these features out of
    pruning. In training, a learned attention bias or a register token takes their place.

    What keeps it silent: a median of zero (most features dead), BatchNorm, GroupNorm and InstanceNorm, random data.

    Source: Sun et al. 2024, Massive Activations in Large Language Models, section 2.
    """
    if not is_measured(context.report):
        return
    for metrics in context.report.layers:
        groups = metrics.groups
        if groups is None or metrics.layer.kind not in KINDS:
            continue
        usual = float(np.median(groups.channel_rms))
        if groups.abs_max <= limits["size"] or usual <= 0 or groups.abs_max < limits["ratio"] * usual:
            continue
        name = metrics.layer.name
        yield FindingDraft(
            layers=(name,),
            text=f"values up to {groups.abs_max:.3g}, {groups.abs_max / usual:.3g} times the usual size, "
            f"mostly in feature {groups.outlier_channel}",
            remedy="Quantize per channel or keep this layer in higher precision; in floating point it is no fault.",
            evidence={
                "abs_max": groups.abs_max,
                "ratio": groups.abs_max / usual,
                "feature": groups.outlier_channel,
            },
            severity="warning" if context.report.target in ("int8", "fp16") else "info",
        )
