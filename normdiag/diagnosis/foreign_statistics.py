"""foreign_statistics: statistics, or the weights before them, of another network or layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import SURELY_ALONG, Seen, named

# Stored and observed statistics of a layer that belong together correlate by 0.9 and more over the channels.
ALIKE, UNRELATED = 0.85, 0.6
# More than this part of the channels vary more than stored where a column of the input is too large.
MOST_GROWN = 0.9


@cause("foreign_statistics", action="reload_weights", rivals="drift", fault="statistics")
def foreign_statistics(seen: Seen) -> Case | None:
    """A layer's statistics have nothing to do with the weights before it: they come from another checkpoint or layer.

    What it means: buffers of another training, two layers exchanged, channels in another order, or a linear layer
    before the norm that was not loaded. Each channel is then normalized with numbers of some other channel.

    How it is told: over the channels, stored and observed statistics hardly correlate, where they normally do by 0.9
    and more. In one layer or two while all others agree; or in all of them, for a mix-up of whole checkpoints. Where
    the layers after it drift as well, the weights before it are the foreign ones, for wrong statistics alone do not
    reach further once each layer is measured with those before it corrected.

    What to do: load the layer again from the file that was saved in training, weights and buffers together.
    Recalibrating repairs the statistics; it does not help where the weights are the foreign ones.

    Source: Ioffe and Szegedy 2015, section 3.1.
    """
    everywhere = [row for row in seen.drifting if _unrelated(row) and not seen.fed_otherwise(row)]
    unrelated = [row for row in everywhere if row in seen.loud]
    if seen.isolated and (len(unrelated) == len(seen.isolated) or len(seen.isolated) == 1):
        return _isolated(seen, seen.isolated)
    if seen.everywhere and len(everywhere) >= 0.6 * len(seen.drifting):
        return _case(everywhere, 0.85, "all layers")
    first = seen.loud[0] if seen.loud else None
    if first is not None and first in unrelated and (first.index or _no_input(seen, first)):
        others = [row for row in seen.drifting if row is not first]
        if seen.answers.given_back or any(map(seen.mismatch, others)) or seen.along(others) < -SURELY_ALONG:
            return None  # with weights that are lost, nothing gives answers back; or they changed elsewhere, too
        return _or_what_feeds_it(seen, first)
    return None


def _or_what_feeds_it(seen: Seen, first: LayerRow) -> Case:
    """All goes wrong from this layer on: by the weights before it or, where that may be, the gamma before them."""
    found = _case([first], 0.86, f"'{first.name}', and the layers after it see other values than in training")
    if first.index == 0 or seen.mismatch(first):
        return found
    before = seen.rows[first.index - 1].name
    told = "these weights may be right and the gamma and beta before them wrong: load both again"
    return replace(
        found,
        layers=(first.name, before),
        evidence=f"{found.evidence}; '{before}' feeds it",
        confidence="medium",
        alternatives=("wrong_affine",),
        test=told,
    )


def _isolated(seen: Seen, rows: Sequence[LayerRow]) -> Case | None:
    if any(row.correlations is None for row in rows):
        return None
    if rows[0].index == 0 and not _no_input(seen, rows[0]):
        return None  # then it is the input, or statistics of another
    if rows[0].index > 0 and seen.fed_otherwise(rows[0]):
        return None  # the gamma and beta before it, or what feeds it
    related = all(_related(row) for row in rows)
    last = rows[-1].index == len(seen.rows) - 1 and rows[-1].index > 0
    if last and max(rows[-1].correlations or (1.0, 1.0)) > UNRELATED:
        return None  # the gamma and beta before it would show here alone
    where = f"'{rows[0].name}'" if len(rows) == 1 else " and ".join(f"'{row.name}'" for row in rows)
    return replace(_case(rows, 0.7 if related else 0.85, where), confidence="medium" if related else "high")


def _case(rows: Sequence[LayerRow], weight: float, where: str) -> Case:
    means, variances = zip(*(row.correlations or (1.0, 1.0) for row in rows), strict=True)
    off = max(row.off for row in rows)
    everything = len(rows) > 2
    return Case(
        named(rows) if everything else tuple(row.name for row in rows),
        weight,
        f"The statistics of {where} do not belong to the weights before {'them' if everything else 'it'}.",
        f"off by {off:.2g} standard deviations; stored and observed means correlate by {min(means):.2f}, variances by "
        f"{min(variances):.2f} over the channels",
        ("ND209", *ON_DATA),
    )


def _related(row: LayerRow) -> bool:
    return row.correlations is not None and min(row.correlations) > ALIKE


def _unrelated(row: LayerRow) -> bool:
    """Neither the means nor the variances of the channels are where they should be."""
    return row.correlations is not None and max(row.correlations) < UNRELATED


def _no_input(seen: Seen, first: LayerRow) -> bool:
    """Whether no other input can be what is the matter with the first layer."""
    return _lost(first) or (_unrelated(first) and seen.mismatch(first))


def _lost(row: LayerRow) -> bool:
    """For the first layer: variances mixed up among the channels, not all larger or smaller as by another input."""
    middle, spread = row.log_ratio
    grown = float(np.mean(np.log(np.maximum(row.drift.r, 1e-12)) > -0.05))
    mixed = abs(middle) < 3.0 * spread and grown < MOST_GROWN
    return row.correlations is not None and row.correlations[1] < UNRELATED and mixed
