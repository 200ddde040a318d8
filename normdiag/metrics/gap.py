"""The gap between outputs under batch statistics and under running statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.drift import ENOUGH
from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.records import Attribution, Evidence, Gap, Labelled, LayerMetrics, Marks, OutputChange, OutputSums

Floats = NDArray[np.float64]


# Where neither a layer's local drift nor the gap reaches these, nothing is left that replaced statistics would explain:
# below them no rule reports either.
DRIFT, RELATIVE_RMS, DISAGREEMENT = 0.1, 0.25, 0.04


def measure_gap(evidence: Evidence) -> Gap | None:
    """The gap of the output that differs most; None where pass B did not run."""
    if not evidence.outputs or evidence.gap_samples == 0:
        return None
    name, sums = max(evidence.outputs.items(), key=lambda item: _rank(item[1]))
    change = output_change(sums)
    return Gap(
        output=name,
        relative_rms=change.relative_rms,
        top1_disagreement=change.answers_changed,
        js_divergence=change.js_divergence,
        batch_size=evidence.batch_size,
        samples=evidence.gap_samples,
        explained_drift=None,
        explained_noise=None,
        relative_rms_se=change.relative_rms_se,
        top1_disagreement_se=change.answers_changed_se,
        js_divergence_se=change.js_divergence_se,
        classes=None if sums.answers is None else len(sums.answers),
        answered=answered_classes(sums),
    )


def answered_classes(sums: OutputSums) -> float | None:
    """How many classes the model answers with as deployed, in effect: 1 / sum p^2 over their shares p."""
    return None if sums.answers is None or not sums.answers.sum() else _in_effect(sums.answers)


def held_against_labels(marks: Marks | None, samples: int) -> Labelled | None:
    """How right the answers are; None where not each of so many samples has a label."""
    if marks is None or marks.counts.sum() != samples:
        return None
    right = (float(marks.counts[1].sum() / samples), float(marks.counts[:, 1].sum() / samples))
    return Labelled(samples, right, (int(marks.counts[0, 1]), int(marks.counts[1, 0])), _in_effect(marks.labels))


def _in_effect(counts: NDArray[np.int64]) -> float:
    """How many classes there are in effect in counts (K,): 1 / sum p^2 over their shares p."""
    shares = counts / counts.sum()
    return float(1.0 / np.sum(shares * shares))


def output_change(sums: OutputSums) -> OutputChange:
    """What the sums of one output say, with jackknifed errors."""
    counts = sums.table[:, 0]
    whole = _figures(sums.table.sum(0, keepdims=True))[0]
    errors = jackknife(whole, _figures(left_out(sums.table, counts)), counts)
    known = [None if math.isinf(each) else float(each) for each in errors]
    if not sums.rows:
        return OutputChange(relative_rms(sums), known[0])
    scores = [each for value, error in zip(whole[1:], known[1:], strict=True) for each in (float(value), error)]
    return OutputChange(relative_rms(sums), known[0], *scores)


def needs_explaining(gap: Gap, layers: Sequence[LayerMetrics]) -> bool:
    """Whether something drifts, or may for all that is known, or the gap is large enough to ask what it comes from."""
    drifts = any(each.own is not None and not each.own.upper <= DRIFT for each in layers)
    changed = gap.top1_disagreement is not None and gap.top1_disagreement > DISAGREEMENT
    return drifts or changed or not gap.relative_rms <= RELATIVE_RMS


def explained(gap: OutputSums, noise: OutputSums, batches: int) -> tuple[float | None, float | None, float | None]:
    """Shares of drift and of batch noise in the squared gap: what goes when the statistics are replaced, and the rest.

    `gap` compares the output as deployed with that under batch statistics, `noise` the one under the data's own
    statistics with the latter. These are the mean over `batches` batches, among them the one that they are held
    against, and so lie nearer to it than those of the population by (batches - 1) / batches in the square, as a sample
    variance does (Bessel's correction); of a single batch nothing can be said. None where there is no gap. Third the
    standard error of either, jackknifed over the batches, which is None with one of them.
    """
    unseen = batches / (batches - 1) if batches > 1 else 1.0
    total, left = gap.difference_square, unseen * noise.difference_square
    if not (math.isfinite(total) and math.isfinite(left)) or total == 0:
        return None, None, None
    share = min(left / total, 1.0)
    counts = gap.table[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        without = unseen * left_out(noise.table[:, 1:2], counts) / left_out(gap.table[:, 1:2], counts)
    error = float(jackknife(np.array([left / total]), without, counts)[0])
    return 1.0 - share, share, error if math.isfinite(error) else None


def recalibration_change(change: OutputSums, gap: OutputSums, noise: OutputSums) -> OutputChange:
    """What replaced statistics change, with errors of RMS and divergence that other data's statistics are in.

    Of squared distances between the output as deployed (e), under the data's statistics (c) and under those of a batch
    (b), |b - e|^2 - |b - c|^2 is, to first order in b - c, what |c - e|^2 would be with the statistics of that batch in
    place of c's. Leaving out batches of `gap` (e to b) less `noise` (c to b) so varies samples and statistics together,
    without a further run. The divergence is a square to the same order. With fewer than 4 batches, and for answers,
    whose number is no square, the error is the one over samples of `change` (e to c), with the statistics fixed.
    """
    found, counts = output_change(change), gap.table[:, 0]
    if np.count_nonzero(counts) < ENOUGH:
        return found
    with np.errstate(all="ignore"):
        over = np.stack([gap.table[:, 2], gap.table[:, 3]], 1)
        parts = np.stack([gap.table[:, 1] - noise.table[:, 1], gap.table[:, 5] - noise.table[:, 5]], 1)
        without = left_out(parts, counts) / left_out(over, counts)
        square, divergence = jackknife(parts.sum(0) / over.sum(0), without, counts)
        rms = float(square / (2.0 * found.relative_rms)) if found.relative_rms > 0 else math.nan
    return replace(
        found,
        relative_rms_se=rms if math.isfinite(rms) else found.relative_rms_se,
        js_divergence_se=float(divergence) if math.isfinite(divergence) else found.js_divergence_se,
    )


def relative_rms(sums: OutputSums) -> float:
    """sqrt(sum (y' - y)^2 / sum y^2); 0 where both are 0, infinite where only the reference is."""
    if sums.reference_square == 0:
        return 0.0 if sums.difference_square == 0 else math.inf
    return math.sqrt(sums.difference_square / sums.reference_square)


def _figures(tables: Floats) -> Floats:
    """Relative RMS, share of changed answers, mean divergence and decidedness gained, (K, 4), from sums (K, 7)."""
    _, difference, reference, rows, changed, divergence, decided = tables.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([np.sqrt(difference / reference), changed / rows, divergence / rows, decided / rows], 1)


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
