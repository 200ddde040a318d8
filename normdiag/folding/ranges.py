"""How far the weight ranges of a layer's channels lie apart, before and after it takes a norm up.

A quantizer with one scale for the whole tensor gives the largest weight 127 levels. A channel whose weights are all
small beside that is left with few (Nagel et al. 2019, Data-free quantization, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normdiag.folding.checks import Peaks, largest_weights
from normdiag.metrics.ordered import median
from normdiag.records import Conv, FoldPlan, Linear, Norm, OpGraph, RangeSpread
from normdiag.records.model import Array

LEVELS = 127
# Below this many levels, rounding leaves -1, 0 and 1 at most.
ONE_LEVEL = 1.5
# Of the median signal of the channels.
SILENT = 0.1


def range_spreads(graph: OpGraph, plan: FoldPlan, peaks: Peaks | None = None) -> tuple[RangeSpread, ...]:
    """For each convolution and linear layer that the plan edits, in graph order. Reads weights not yet in `peaks`."""
    seen, carrying = peaks or Peaks(), _carrying(graph, plan)
    edited = ((graph.ops[index], edit) for index, edit in plan.edits.items())
    return tuple(
        _spread(op.name, seen.of(op.detail), largest_weights(op.detail, edit, seen), carrying.get(op.name))
        for op, edit in edited
        if isinstance(op.detail, Conv | Linear)
    )


def _carrying(graph: OpGraph, plan: FoldPlan) -> Mapping[str, Array]:
    """By layer that absorbed a norm channel by channel: the channels to which the norm leaves a signal.

    The standard deviation after a norm is |gamma| sqrt(var / (var + eps)). A channel with less than a tenth of the
    median's is pruned or dead: its weights are small because they do not matter, and rounding them away harms nothing.
    """
    norms = {op.name: op.detail.layer for op in graph.ops if isinstance(op.detail, Norm)}
    found = {}
    for step in plan.steps:
        layer = norms.get(step.norm)
        if step.direction != "before" or len(step.into) != 1 or layer is None or layer.running_var is None:
            continue
        var = np.asarray(layer.running_var, np.float64)
        gamma = np.ones_like(var) if layer.gamma is None else np.abs(np.asarray(layer.gamma, np.float64))
        signal = gamma * np.sqrt(var / np.maximum(var + (layer.eps or 0.0), np.finfo(float).tiny))
        found[step.into[0]] = signal >= SILENT * median(signal)
    return found


def _spread(layer: str, before: Array, after: Array, carrying: Array | None) -> RangeSpread:
    counted = carrying if carrying is not None and carrying.shape == after.shape else np.ones(after.shape, bool)
    coarse = _coarse(before, counted), _coarse(after, counted)
    return RangeSpread(layer, before.size, _ratio(before), _ratio(after), *coarse)


def _ratio(largest: Array) -> float:
    """Largest over smallest, of channels that are not all zero; 1 where there is none."""
    nonzero = largest[largest > 0]
    return float(nonzero.max() / nonzero.min()) if nonzero.size else 1.0


def _coarse(largest: Array, counted: Array) -> int:
    """Channels that get at most one level. One that is all zero loses nothing and does not count."""
    small = (largest > 0) & (largest < ONE_LEVEL * largest.max(initial=0) / LEVELS)
    return int(np.count_nonzero(small & counted))
