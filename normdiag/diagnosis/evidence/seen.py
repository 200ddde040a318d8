"""The evidence over the depth of the network, and what replacing the statistics would change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import numpy as np

from normdiag.diagnosis.evidence.answer_change import AnswerChange
from normdiag.diagnosis.evidence.fits import by_one_factor
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.origin import Reach, along_weights, reach, together
from normdiag.diagnosis.evidence.training import Fault, fault
from normdiag.metrics.affine import oddities
from normdiag.records import Finding, NormLayer, Report
from normdiag.rules.batch import uses_batch

# Below this nothing is made of a drift, however surely it is there: networks without a fault have as much.
LEAST = 0.03
# Beside a layer that drifts more, a layer of less than this part is quiet.
QUIET = 0.3
# From this part of the means in the drift of the later layers on, it is the weights that changed, for all that is
# known; and from the second on, whatever else.
WEIGHTS, SURELY_WEIGHTS = 0.2, 0.6
# Of the weights, the part that training never leaves at exactly 0 or twice the same.
REWRITTEN = 0.2
# And from this one on even where the first layer is the furthest off.
MOSTLY_MEANS = 0.8
# As how few samples the statistics of later layers would be as far off by chance, where it is not the data's doing.
FEWER_THAN_ONE = 0.25
# And the first layer, beside another.
PLAIN_IMAGES = 0.5
# What the others may have without a fault, in the median.
ANYWAY = 0.15
# Nats of likelihood by which means have moved along the weights before them.
SURELY_ALONG = 5.0
# Of the squared drift of all layers, the part in layers whose means are held against their weights.
MUCH = 0.3
# How far the first layer's means have to be off, and what one factor may leave of that. Where the means are all that
# is off in the later layers, it is no data's doing all the same.
MOVED, ONE_FACTOR, ALL_MEANS = 0.1, 0.1, 0.95


@dataclass(frozen=True, eq=False)
class Seen:
    """A report with its findings."""

    report: Report

    @cached_property
    def rows(self) -> tuple[LayerRow, ...]:
        """The BatchNorm layers whose stored statistics were compared with real data, in the order of the network.

        Where drift could only be measured as deployed, all layers after the first that drifts may merely inherit it,
        and say nothing of themselves.
        """
        if self.report.data is None or self.report.data.random:
            return ()
        used = [each for each in self.report.layers if not uses_batch(each.layer, self.report.model)]
        measured = [(each, each.own or each.drift) for each in used if each.layer.kind == "batch_norm"]
        finite = [(each, drift) for each, drift in measured if drift is not None and isfinite(drift.rms)]
        rows = tuple(LayerRow(index, each, drift) for index, (each, drift) in enumerate(finite))
        if any(row.metrics.own is not None for row in rows):
            return rows
        first = next((row.index for row in rows if row.lower > LEAST), len(rows))
        return rows[: first + 1]

    @cached_property
    def answers(self) -> AnswerChange:
        """What the data's own statistics would change."""
        return AnswerChange(self.report)

    @property
    def norms(self) -> tuple[NormLayer, ...]:
        """All BatchNorm layers."""
        return tuple(each.layer for each in self.report.layers if each.layer.kind == "batch_norm")

    @cached_property
    def loud(self) -> tuple[LayerRow, ...]:
        """The layers that surely drift by themselves, and not just a little beside the one that does most."""
        most = max((row.off for row in self.rows), default=0.0)
        return tuple(row for row in self.rows if row.lower > LEAST and row.off > QUIET * most)

    @cached_property
    def drifting(self) -> tuple[LayerRow, ...]:
        """The layers that surely drift by themselves, however little."""
        return tuple(row for row in self.rows if row.lower > LEAST)

    @cached_property
    def fault(self) -> Fault | None:
        """Whether statistics or data are at fault, where there is data that the model was trained on."""
        return fault(self.loud, self.report.on_training_data)

    @property
    def contradicted(self) -> bool:
        """Whether stored means contradict the weights before them, which no data has to do with."""
        named = {layer for each in self.found("ND209") for layer in each.layers} & {row.name for row in self.loud}
        return bool(named) or self.along(self.drifting) < -2.0 * SURELY_ALONG

    def along(self, rows: Iterable[LayerRow]) -> float:
        """Nats of likelihood by which means moved along the weights before them, over layers taken together."""
        return sum(self.directions.get(row.name, 0.0) for row in rows)

    @cached_property
    def directions(self) -> dict[str, float]:
        """The same of each layer that drifts, where it can be told, by its name."""
        return {row.name: nats for row in self.drifting if (nats := along_weights(row)) is not None}

    @cached_property
    def reaches(self) -> dict[str, Reach]:
        """Of the layers that drift, by their names, whether something else before them can move their means so."""
        return {row.name: of for row in self.drifting if (of := reach(row)) is not None}

    @property
    def reached(self) -> Reach | None:
        """The same of all these layers together, where they stand for the drift: the first of all, or much of it."""
        known, whole = together(self.reaches.values()), sum(row.off**2 for row in self.drifting)
        first = any(row.index == 0 and row.name in self.reaches for row in self.loud)
        return known if known is not None and (first or known.off > MUCH * whole) else None

    def mismatch(self, row: LayerRow) -> bool:
        """Whether a layer's means moved as no input of it moves them: its statistics are not those of its weights."""
        return row.name in self.reaches and self.reaches[row.name].mismatch

    def fed_otherwise(self, row: LayerRow) -> bool:
        """Whether its means moved as another input moves them: its statistics are those of its weights."""
        if row.name in self.reaches:
            return self.reaches[row.name].by_input
        return self.along([row]) > SURELY_ALONG

    @property
    def local(self) -> bool:
        """Whether drift was measured layer by layer, each with those before it corrected."""
        return any(row.metrics.own is not None for row in self.rows)

    @property
    def everywhere(self) -> bool:
        """Whether most layers drift."""
        return len(self.rows) > 1 and len(self.drifting) >= max(2, 0.6 * len(self.rows))

    @property
    def isolated(self) -> tuple[LayerRow, ...]:
        """One or two layers that drift while the others do not: their statistics, for all else would go on.

        The first layer does not count beside one that drifts far more: without the augmentation of the training it
        drifts in healthy networks, too.
        """
        most = max((row.off for row in self.loud), default=0.0)
        loud = tuple(row for row in self.loud if row.index or row.off > PLAIN_IMAGES * most)
        quiet = [row for row in self.rows if row not in self.loud]
        few = 0 < len(loud) <= max(1, min(2, len(self.rows) // 2))
        if quiet and float(np.median([row.off for row in quiet])) > ANYWAY:
            return ()  # the others drift as well, if less
        return loud if few and all(row.off < max(QUIET * most, LEAST) for row in quiet) else ()

    @property
    def later(self) -> tuple[LayerRow, ...]:
        """All but the first layer."""
        return self.rows[1:]

    @property
    def first_alone(self) -> bool:
        """Whether the first layer drifts, and those after it far less."""
        if not self.rows or self.rows[0].lower <= LEAST:
            return False
        return all(row.off < max(0.3 * self.rows[0].off, LEAST) for row in self.later)

    @cached_property
    def mean_part(self) -> float:
        """The part of the means in the drift of the later layers, 0 to 1.

        With batch statistics in front, a layer's input has the mean that the weights, gammas and betas before it give,
        whatever the data: other data changes deviations, other weights or statistics change means.
        """
        means = sum(row.mean_square for row in self.later)
        total = means + sum(row.spread_square for row in self.later)
        return means / total if total > 0 else 0.0

    @property
    def systematic(self) -> float:
        """How far the deviations of a layer are off together beside how they scatter, mean over the drifting layers."""
        ratios = [abs(middle) / (spread + 1e-2) for middle, spread in (row.log_ratio for row in self.drifting)]
        return float(np.mean(ratios)) if ratios else 0.0

    @property
    def from_input(self) -> bool:
        """Whether the drift looks like that of other data, rather than of other weights.

        Then the first layer drifts most, or the means after it hardly move; or the data's own statistics would make
        the answers less decided, which they do where the features are not made for the data. Data that the model was
        trained on settles it.
        """
        if self.fault is not None or not self.rows or self.contradicted:
            return self.fault == "data"
        known = self.reached
        if known is not None and (known.mismatch or known.by_input):
            return known.by_input
        first, later = self.rows[0], max((row.off for row in self.later), default=0.0)
        if self.moved_by_one_factor:
            return True
        if self.beyond_samples or self.rewritten:
            return False
        unlike = (self.answers.decided < -2.0 or self.answers.one_sided) and self.mean_part < SURELY_WEIGHTS
        first_most = first.off > 1.1 * later and not (self.mean_part > MOSTLY_MEANS and later > QUIET * first.off)
        return first_most or self.mean_part < WEIGHTS or unlike

    @property
    def answers_other_data(self) -> bool:
        """Whether, by labels, no statistics give the answers back, and none are known to be wrong."""
        known = self.reached is not None and self.reached.mismatch
        return self.fault is None and self.answers.in_vain and not (self.contradicted or known or self.rewritten)

    @property
    def rewritten(self) -> float:
        """Share of the weights before the drift, by squares, that were written after training; 0 where few were.

        Pruned and rounded weights show themselves. Where the first layer alone drifts, it is the input all the same.
        """
        known = [(row.off**2, row.metrics.response.rewritten) for row in self.drifting if row.metrics.response]
        total = sum(off for off, _ in known)
        share = sum(off * part for off, part in known) / total if total > 0 else 0.0
        return share if share > REWRITTEN and not self.first_alone else 0.0

    @property
    def excited(self) -> bool:
        """Whether the data surely excites the later layers more than that of the statistics did, and answers gain."""
        more = self.fault is None and self.excitement > 0.015 and any(row in self.drifting for row in self.later)
        return more and not self.answers.unconvincing

    @cached_property
    def excitement(self) -> float:
        """Mean over the later layers of log(observed / stored deviation), weighted by their drift.

        Features respond most to data like that of training: below 0 the data excites them less than that of the
        statistics did, above 0 more.
        """
        weights = np.array([row.spread_square for row in self.later])
        ratios = np.array([row.log_ratio[0] for row in self.later])
        return float(np.sum(weights * ratios) / weights.sum()) if weights.sum() > 0 else 0.0

    @cached_property
    def odd_affine(self) -> dict[str, str]:
        """What is odd about gamma and beta, by the name of the layer."""
        return oddities(self.norms)

    @property
    def begins(self) -> LayerRow | None:
        """The first layer that drifts by itself, where those before it surely do not; None for the first of all."""
        most = max((row.off for row in self.rows), default=0.0)
        first = next((row for row in self.rows if row.lower > max(2.0 * LEAST, min(0.05 * most, 0.2))), None)
        if not self.local:
            return None
        for each in (first, min(self.isolated, key=lambda row: row.index, default=None)):
            if each and each.index and all(row.off < QUIET * each.off for row in self.rows[: each.index]):
                return each
        return None

    @property
    def moved_by_one_factor(self) -> bool:
        """Whether the first layer's means are off by one factor in all channels, as another input makes them."""
        known = self.rows[0].statistics
        if known is None or self.rows[0].mean_square < MOVED**2 or self.mean_part > ALL_MEANS:
            return False
        return by_one_factor(known) < ONE_FACTOR

    @property
    def beyond_samples(self) -> bool:
        """Whether the later layers are further off than single samples scatter: other data hardly gets so far."""
        sizes = [row.samples for row in self.later if row.samples and row in self.drifting]
        return len(sizes) > 0.5 * len(self.later) and geometric_mean(sizes) < FEWER_THAN_ONE

    def found(self, *rules: str) -> tuple[Finding, ...]:
        """The findings of these rules, warnings and errors only."""
        return tuple(each for each in self.report.findings if each.rule in rules and each.severity != "info")


def geometric_mean(sizes: Sequence[float]) -> float:
    """Of positive numbers."""
    return float(np.exp(np.mean(np.log(sizes))))


def named(rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """Names of layers, as they run where the first of all is far off too; else the one that drifts most first."""
    if rows and rows[0].index == 0 and rows[0].off > QUIET * max(row.off for row in rows):
        return tuple(row.name for row in rows)
    return tuple(row.name for row in sorted(rows, key=lambda row: -row.lower))
