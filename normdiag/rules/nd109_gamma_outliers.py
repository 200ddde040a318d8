"""ND109: a few features of a LayerNorm or RMSNorm whose gamma dwarfs the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.metrics.ordered import median
from normdiag.records import NormLayer
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

KINDS = frozenset({"layer_norm", "rms_norm", "layer_or_group_norm"})


@rule("ND109", "gamma-outliers", "info", ratio=10.0, features=16, negative=0.1)
def gamma_outliers(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A few features of a LayerNorm or RMSNorm have a gamma far above that of the others.

    What it means: max |gamma| is more than ten times (limit `ratio`) the median. The layer itself makes these features
    outliers of its output, on any input.

    Why it matters: one INT8 scale for the output is set by the outliers and leaves few steps for all the rest, which
    is what costs quantized transformers their accuracy. In floating point it is harmless.

    Why ten: at that ratio the ordinary features have 12 of 127 steps left. Below it, quantization loses little.

    What keeps it silent: under 16 features (limit `features`); more than a tenth of gamma negative (limit
    `negative`), for then gamma is no plain scale: some RMSNorms store it less 1; a median of zero.

    How to fix it: nothing in floating point. Before quantization move gamma into the weights after the layer
    (`normdiag fold --norms batch,layer`), or quantize its output per channel.

    Source: Wei et al. 2022, Outlier Suppression, section 3.
    """
    for metrics in context.report.layers:
        layer = metrics.layer
        ratio = _ratio(layer, limits)
        if ratio is None or ratio <= limits["ratio"]:
            continue
        assert layer.gamma is not None  # else there is no ratio
        feature = int(np.argmax(np.abs(np.asarray(layer.gamma, np.float64))))
        yield FindingDraft(
            layers=(layer.name,),
            text=f"gamma of feature {feature} is {ratio:.3g} times the median of {layer.gamma.size}",
            remedy="Before quantization, fold gamma into the weights after this layer or quantize per channel.",
            evidence={"ratio": ratio, "feature": feature, "features": int(layer.gamma.size)},
            confidence="medium" if layer.kind == "layer_or_group_norm" else "high",
        )


def _ratio(layer: NormLayer, limits: Mapping[str, float]) -> float | None:
    """max |gamma| over its median; None where that says nothing."""
    if layer.kind not in KINDS or layer.gamma is None or layer.gamma.size < limits["features"]:
        return None
    gamma = np.asarray(layer.gamma, np.float64).ravel()
    if not np.all(np.isfinite(gamma)) or np.mean(gamma < 0) > limits["negative"]:
        return None
    usual = median(np.abs(gamma))
    return float(np.max(np.abs(gamma))) / usual if usual > 0 else None
