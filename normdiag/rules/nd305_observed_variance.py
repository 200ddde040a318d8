"""ND305: on this data, what is normalized hardly varies beside eps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import LayerMetrics
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule


@rule("ND305", "observed-variance", "warning", share=0.5, noted=0.1)
def observed_variance(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """On this data the variance that a layer normalizes is below its eps for many of the groups or channels.

    What it means: the layer divides by sqrt(variance + eps). Below eps the result has under 71 % of the intended
    spread, and far below it is the bias alone. For LayerNorm, RMSNorm, GroupNorm and InstanceNorm, the share of the
    groups is counted that one sample, token or channel is (RMSNorm: by mean square). For BatchNorm, the channels that
    do not vary on this data although they did in training.

    Why it matters: inputs that differ come out alike. Usual causes are inputs that are far too small (scaled twice by
    1/255), blank images or padding, a branch that died, or an eps too large for the scale of the activations.

    Why these limits: single groups are blank in healthy data (padded tokens, a silent stretch of sound). At a tenth
    (limit `noted`) it is information, at half (limit `share`) a warning. The sample models have none.

    What keeps it silent: BatchNorm channels whose stored variance is below eps already (ND103), random data.

    How to fix it: check how the input is prepared and whether the layer before still passes anything. Lower eps only
    together with training.

    Source: Ba et al. 2016, Layer Normalization, section 3; Ioffe and Szegedy 2015, algorithm 1.
    """
    if not is_measured(context.report):
        return
    for metrics in context.report.layers:
        share = _group_share(metrics) if metrics.groups is not None else _channel_share(metrics)
        if share is None or share < limits["noted"]:
            continue
        name, what = metrics.layer.name, "groups" if metrics.groups is not None else "channels"
        yield FindingDraft(
            layers=(name,),
            text=f"{100 * share:.0f}% of the {what} have a variance below eps ({metrics.layer.eps:g}) on this data",
            remedy="Check how the input is prepared, and whether the layer before this one still passes anything.",
            evidence={"share": share, "eps": metrics.layer.eps},
            severity="warning" if share >= limits["share"] else "info",
        )


def _group_share(metrics: LayerMetrics) -> float | None:
    """A layer over groups of one element has no variance anywhere: that is ND206's."""
    groups = metrics.groups
    return None if groups is None or groups.single_element else groups.below_eps


def _channel_share(metrics: LayerMetrics) -> float | None:
    """Share of the channels whose stored variance is above eps and whose observed one is below."""
    layer, drift = metrics.layer, metrics.drift
    if drift is None or layer.running_var is None or layer.eps is None:
        return None
    var = np.asarray(layer.running_var, np.float64)
    observed = drift.r**2 * (var + layer.eps) - layer.eps
    return float(np.mean((var >= layer.eps) & (observed < layer.eps)))
