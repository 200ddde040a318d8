"""The gap between outputs under batch statistics and under running statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from normdiag.records import Evidence, Gap, LayerMetrics, OutputSums


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


def removed(before: Mapping[str, OutputSums], after: Mapping[str, OutputSums], output: str) -> float:
    """The share of an output's gap that a change takes away: 1 - after/before in relative RMS; 0 without a gap."""
    gap = relative_rms(before[output])
    return 1.0 - relative_rms(after[output]) / gap if gap > 0 and math.isfinite(gap) else 0.0
