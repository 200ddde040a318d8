"""The gap between outputs under batch statistics and under running statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from normdiag.records import Attribution, Evidence, Gap, LayerMetrics, OutputSums


def measure_gap(evidence: Evidence, layers: Sequence[LayerMetrics]) -> Gap | None:
    """The gap of the output that differs most, and what the sums explain of it; None where pass B did not run."""
    if not evidence.outputs or evidence.gap_samples == 0:
        return None
    name, sums = max(evidence.outputs.items(), key=lambda item: _rank(item[1]))
    drift, noise = explained(layers)
    return Gap(
        output=name,
        relative_rms=relative_rms(sums),
        top1_disagreement=sums.disagreements / sums.rows if sums.rows else None,
        js_divergence=sums.divergence / sums.rows if sums.rows else None,
        batch_size=evidence.batch_size,
        samples=evidence.gap_samples,
        explained_drift=drift,
        explained_noise=noise,
    )


def relative_rms(sums: OutputSums) -> float:
    """sqrt(sum (y' - y)^2 / sum y^2); 0 where both are 0, infinite where only the reference is."""
    if sums.reference_square == 0:
        return 0.0 if sums.difference_square == 0 else math.inf
    return math.sqrt(sums.difference_square / sums.reference_square)


def explained(layers: Sequence[LayerMetrics]) -> tuple[float | None, float | None]:
    """Shares of drift and of batch noise in the squared difference that batch statistics make to the layers' outputs.

    In each layer the expected squared difference is d_own^2 + noise^2, in stored standard deviations (DESIGN, 3),
    with d_own^2 free of its noise floor; the shares are over the sum of both over all layers.
    """
    measured = [(each.own, each.noise) for each in layers if each.own is not None and each.noise is not None]
    drift = sum(own.corrected**2 for own, _ in measured)
    noise = sum(value**2 for _, value in measured)
    total = drift + noise
    if not measured or not math.isfinite(total) or total == 0:
        return None, None
    return drift / total, noise / total


def _rank(sums: OutputSums) -> tuple[bool, float]:
    """Largest gap first, NaN above all."""
    value = relative_rms(sums)
    return math.isnan(value), value


def rank_attribution(
    before: Mapping[str, OutputSums], after: Mapping[str, Mapping[str, OutputSums]], output: str
) -> tuple[Attribution, ...]:
    """Layers by the share of an output's gap, 1 - after/before in relative RMS, that goes with each; largest first."""
    gap = relative_rms(before[output])
    if gap == 0 or not math.isfinite(gap):
        return ()
    rows = (Attribution(layer, 1.0 - relative_rms(sums[output]) / gap) for layer, sums in after.items())
    return tuple(sorted(rows, key=lambda row: -row.removed))
