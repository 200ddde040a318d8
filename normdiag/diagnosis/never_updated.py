"""never_updated: statistics as they began."""

from __future__ import annotations

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import Seen, named
from normdiag.rules.stored import is_all, is_initial
from normdiag.wording import abridged


@cause("never_updated", action="recalibrate", rivals="drift", fault="statistics")
def never_updated(seen: Seen) -> Case | None:
    """Stored statistics are still those that a layer begins with: means of 0, variances of 1.

    What it means: the layer was never run in training mode after it was made or reset, or its buffers were lost on
    the way: `strict=False` with other names, a checkpoint of parameters without buffers, a converter that dropped
    them. In eval mode the layer then normalizes with numbers that describe nothing.

    How it is told: the stored values are exactly 0 and 1 (or the means alone exactly 0), and the data, where there is
    any, contradicts them. The values count, not the counter of batches: an averaged copy keeps the counter of the
    model it was made from.

    What to do: recalibrate on training data. Where the file that was saved in training still has the buffers, load
    them from there.

    Source: Ioffe and Szegedy 2015, algorithm 2 (inference uses the population's statistics).
    """
    rows = [row for row in seen.loud if _is_initial(row)]
    if rows:
        layers = named(rows)
        how = f"{abridged(layers)}: exactly as at the beginning, off by {max(row.off for row in rows):.2g} on this data"
    else:
        layers = tuple(dict.fromkeys(layer for each in seen.found("ND104") for layer in each.layers))
        if not layers or any(row.name in layers for row in seen.rows):
            return None
        how = f"means of 0 and variances of 1 in {abridged(layers)}"
    which = f"'{layers[0]}'" if len(layers) == 1 else f"{len(layers)} layers"
    return Case(
        layers,
        0.99,
        f"The running statistics of {which} were never updated: they are still the ones a layer begins with.",
        how,
        ("ND104", "ND105", "ND209", *ON_DATA),
        severity="error",
    )


def _is_initial(row: LayerRow) -> bool:
    """Both as they began; or the means, where that is what is wrong."""
    if is_initial(row.layer):
        return True
    lost = row.layer.running_mean is not None and is_all(row.layer.running_mean, 0.0)
    return lost and (row.layer.channels or 0) > 1 and bool(np.any(np.abs(row.drift.z) > 5.0 * row.drift.se_z))
