"""dropout_before_norm: statistics of values that dropout spread."""

from __future__ import annotations

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import Seen

# What values with a mean away from zero add to the drift of those around zero, and what the means may have of it.
MOST, MEANS = 2.5, 0.15


@cause("dropout_before_norm", action="recalibrate", rivals="drift", fault="statistics")
def dropout_before_norm(seen: Seen) -> Case | None:
    """A dropout before a norm makes its input vary more in training than later: the stored variance is too large.

    What it means: a dropout that keeps a share k of the values adds (1 - k)/k of their mean square to the variance. In
    eval mode it is off, and the norm divides by too much.

    How it is told: by a dropout on the way to the layer (ND204) and deviations that are smaller than the stored ones
    there and nowhere else, by no more than the dropout can make them, while the means, which it leaves alone, agree.

    What to do: recalibrate with the dropout off; for the next training put the dropout after the last norm.

    Source: Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift.
    """
    findings = [each for each in seen.report.findings if each.rule == "ND204"]
    named = {layer for each in findings for layer in each.layers}
    rows = [row for row in seen.loud if row.name in named]
    if not rows or len(rows) < len(seen.loud) or not all(_spread_alone(row) for row in rows):
        return None
    expected = max(float(each.evidence.get("expected_drift") or 0.0) for each in findings)
    if any(row.log_ratio[0] < np.log(max(1.0 - MOST * expected, 0.01)) for row in rows):
        return None
    ratio = float(np.exp(np.mean([row.log_ratio[0] for row in rows])))
    return Case(
        tuple(row.name for row in rows),
        0.86,
        "Statistics were taken with a dropout switched on that is off when the model is used.",
        f"after the dropout, values vary {ratio:.2f} times as much as stored, in {len(rows)} layers",
        ("ND204", *ON_DATA),
    )


def _spread_alone(row: LayerRow) -> bool:
    """Whether deviations are smaller than stored and means are as they should be."""
    return row.log_ratio[0] < 0 and row.mean_square < MEANS * (row.mean_square + row.spread_square)
