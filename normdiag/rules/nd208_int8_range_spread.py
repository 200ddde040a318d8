"""ND208: folding would leave channels that one INT8 scale for the whole tensor rounds away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND208", "int8-range-spread", "warning", coarse_share=0.05)
def int8_range_spread(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """With BatchNorm folded, per-tensor INT8 quantization leaves the weights of some output channels at most one level.

    Why it matters: folding multiplies each channel by gamma / sqrt(var + eps), which spreads the ranges of the
    channels. One scale for the whole tensor is set by the largest; a channel whose largest weight is below 1.5 steps
    of it is quantized to -1, 0 and 1 step. MobileNets lose most of their accuracy this way. The rule fires where
    folding adds such channels to a layer, at least 5 % of them (limit `coarse_share`): below that, per-tensor
    quantization usually costs no more than it costs anyway.

    Where it is looked for: by `normdiag fold`, and by `inspect` and `check` on models whose graph is known (ND202),
    where the configuration or the flag says that the target is int8: a warning there, and a remark of a fold, whose
    model may never be quantized. Elsewhere it is silent: weights are read for it, and only a quantizer minds.

    How to fix it: quantize per channel, or equalize the ranges across layers first. In floating point the fold is
    exact, and nothing needs to be done.

    Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 3;
    Krishnamoorthi 2018, Quantizing deep convolutional networks for efficient inference, section 3.1.
    """
    for each in context.report.ranges:
        added = each.coarse_after - each.coarse_before
        if each.channels < 2 or added < 1 or added < limits["coarse_share"] * each.channels:
            continue
        yield FindingDraft(
            layers=(each.layer,),
            severity="warning" if context.report.target == "int8" else "info",
            text=f"with BatchNorm folded, {each.coarse_after} of {each.channels} channels have "
            f"at most one INT8 level if the whole tensor has one scale ({each.coarse_before} before)",
            remedy="Quantize this model per channel, or equalize the ranges across layers first; in floating point the "
            "fold is exact and safe.",
            evidence={
                "coarse_before": each.coarse_before,
                "coarse_after": each.coarse_after,
                "channels": each.channels,
                "spread_before": each.spread_before,
                "spread_after": each.spread_after,
            },
        )
