"""What is done at each normalization and activation: pass E as deployed, pass B on batch statistics, or sums alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from normdiag.models.pytorch.arrays import Array, to_numpy
from normdiag.observe.norm_rows import norm_rows
from normdiag.observe.points import table_sums
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.observe.pytorch.activations import activation_sums
from normdiag.observe.pytorch.groups import group_sums
from normdiag.observe.pytorch.norms import NormCall
from normdiag.observe.pytorch.reductions import channel_table, computable
from normdiag.observe.sums import finite_shift
from normdiag.ops import Activation
from normdiag.records import ActivationSums, LayerEvidence, NormKind, NormLayer, Point, PointSums, Span
from normdiag.records.precision import NormRows
from normdiag.records.recalibration import PopulationSums

Run = Callable[[Tensor], object]


class Listener(Protocol):
    """Sees every well-formed call before it runs. `norm` may return the output to use in place of the call's own."""

    def norm(self, name: str, call: NormCall) -> Tensor | None:
        """A normalization is about to run."""

    def activation(self, name: str, activation: Activation, x: Tensor, axis: int, run: Run | None) -> bool:
        """An activation is about to run on x, with its units on `axis`. True if it was run, by `run` on all of x."""


def _not_counted(*_: object) -> bool:
    return False


class DeployedPass:
    """Pass E: everything runs as in eval mode, and is summed up."""

    def __init__(self, threshold: float, span: Span, random: np.random.Generator) -> None:
        """`threshold` on |f'| / max|f'| bounds the saturated tails; `span` is where the batch lies in the data;
        `random` draws the values to look at.
        """
        self._threshold, self._span, self._random = threshold, span, random
        self.layers: dict[str, LayerEvidence] = {}
        self.activations: dict[str, ActivationSums] = {}
        self.found: dict[str, NormLayer] = {}

    def norm(self, name: str, call: NormCall) -> None:
        """Sums about the running mean, or of the groups where there is none."""
        if name not in self.found:
            self.found[name] = call.layer(name)
        self._add(name, _deployed_evidence(call, self._span))

    def activation(self, name: str, activation: Activation, x: Tensor, axis: int, run: Run | None) -> bool:
        """Saturation and derivatives."""
        sums, done = activation_sums(activation, x, axis, self._threshold, self._random, run, self._span)
        self.activations[name] = self.activations[name] + sums if name in self.activations else sums
        return done

    def _add(self, name: str, evidence: LayerEvidence) -> None:
        self.layers[name] = self.layers[name] + evidence if name in self.layers else evidence

    @property
    def stored(self) -> frozenset[NormKind]:
        """The kinds of the layers that ran on running statistics, which pass B replaces."""
        used = (each for name, each in self.found.items() if self.layers[name].deployed is not None)
        return frozenset(each.kind for each in used if each.has_statistics)


class BatchPass:
    """Pass B: every BatchNorm uses the statistics of the batch, taken from the very sums that are kept."""

    def __init__(self, span: Span, *, of_samples: bool = False) -> None:
        """`span` is where the batch lies in the data.

        With `of_samples` an InstanceNorm uses those of each sample, as in training.
        """
        self._span, self._of_samples = span, of_samples
        self.layers: dict[str, LayerEvidence] = {}

    def norm(self, name: str, call: NormCall) -> Tensor | None:
        """The output under batch statistics for a BatchNorm; sums for all that have running statistics."""
        if not call.has_statistics:
            return None
        table = channel_table(call.input)
        evidence = LayerEvidence(own=table.sums(_mean(call), self._span))
        self.layers[name] = self.layers[name] + evidence if name in self.layers else evidence
        if call.kind == "batch_norm":
            return call.with_statistics(ReplacedStatistics(*table.moments()))
        return call.without_update() if self._of_samples and table.positions > 1 else None

    activation = staticmethod(_not_counted)


class PopulationPass:
    """Sums alone, of every layer that has or should have running statistics: on batch statistics, or as deployed."""

    def __init__(self, span: Span, *, batch_statistics: bool) -> None:
        """`span` is where the batch lies in the data.

        With `batch_statistics` every BatchNorm uses those of the batch, and every InstanceNorm those of a sample.
        """
        self._span, self._batch = span, batch_statistics
        self.sums: dict[str, PopulationSums] = {}
        self.found: dict[str, NormLayer] = {}

    def norm(self, name: str, call: NormCall) -> Tensor | None:
        """The output on batch statistics where these are asked for."""
        unstored = call.kind == "batch_norm" and call.running_mean is None
        if call.kind not in ("batch_norm", "instance_norm") or not (call.has_statistics or unstored):
            return None
        self.found.setdefault(name, call.layer(name))
        table = channel_table(call.input)
        about = np.zeros(table.total.shape[1]) if unstored else finite_shift(_mean(call))
        seen = PopulationSums(table.sums(about, self._span), len(table.total) * table.positions)
        self.sums[name] = self.sums[name] + seen if name in self.sums else seen
        if not self._batch:
            return None
        if call.kind == "batch_norm":
            return call.with_statistics(ReplacedStatistics(*table.moments()))
        return call.without_update() if table.positions > 1 else None

    activation = staticmethod(_not_counted)


class PointPass:
    """Sums alone, of what enters each normalization and activation, as deployed, in the order in which they ran."""

    def __init__(self, span: Span) -> None:
        """`span` is where the batch lies in the data."""
        self._span = span
        self.points: dict[Point, PointSums] = {}

    def norm(self, name: str, call: NormCall) -> None:
        """Its input, with the features of LayerNorm and RMSNorm as the channels."""
        axis = 1 if call.normalized_shape is None else call.input.dim() - len(call.normalized_shape)
        self._add(Point("norm", name, call.kind), call.input, axis)

    def activation(self, name: str, activation: Activation, x: Tensor, axis: int, _run: Run | None) -> bool:
        """Its input; it is left to run by itself."""
        self._add(Point("activation", name, activation.kind), x, axis)
        return False

    def _add(self, point: Point, x: Tensor, axis: int) -> None:
        table = channel_table(x.movedim(axis, 1) if x.dim() > 2 else x)
        sums = table_sums(table.total, table.square, table.positions, table.shift, self._span)
        self.points[point] = self.points[point] + sums if point in self.points else sums


class RowsPass:
    """What the norms other than BatchNorm normalize, whole, from the first call of each."""

    def __init__(self, samples: int) -> None:
        """`samples` is how many the batch has."""
        self._samples = samples
        self.rows: dict[str, NormRows] = {}

    def norm(self, name: str, call: NormCall) -> None:
        """Its groups."""
        if call.kind == "batch_norm" or call.has_statistics or name in self.rows:
            return
        axes = () if call.normalized_shape is None else tuple(range(-len(call.normalized_shape), 0))
        x = to_numpy(computable(call.input))
        self.rows[name] = norm_rows(x, call.kind, call.eps, samples=self._samples, axes=axes, groups=call.groups)

    activation = staticmethod(_not_counted)


class TrialPass:
    """As deployed, but for the layers whose statistics are replaced."""

    def __init__(self, statistics: Mapping[str, ReplacedStatistics]) -> None:
        """`statistics` by layer name."""
        self._statistics = statistics

    def norm(self, name: str, call: NormCall) -> Tensor | None:
        """The output under the given statistics."""
        chosen = self._statistics.get(name)
        return None if chosen is None or call.kind != "batch_norm" else call.with_statistics(chosen)

    activation = staticmethod(_not_counted)


def _deployed_evidence(call: NormCall, span: Span) -> LayerEvidence:
    if call.has_statistics and not (call.kind == "instance_norm" and call.batch_statistics):
        return LayerEvidence(calls=1, deployed=channel_table(call.input).sums(_mean(call), span))
    if call.kind == "batch_norm":
        return LayerEvidence(calls=1)
    return LayerEvidence(calls=1, groups=group_sums(call, span))


def _mean(call: NormCall) -> Array:
    assert call.running_mean is not None
    return to_numpy(call.running_mean)
