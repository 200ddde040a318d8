"""How far the weight ranges of a layer's channels lie apart, before and after it takes a norm up.

A quantizer with one scale for the whole tensor gives the largest weight 127 levels. A channel whose weights are all
small beside that is left with few (Nagel et al. 2019, Data-free quantization, section 3.1).
"""

from __future__ import annotations

import numpy as np

from normdiag.folding.checks import Peaks, largest_weights
from normdiag.records import Conv, FoldPlan, Linear, OpGraph, RangeSpread
from normdiag.records.model import Array

LEVELS = 127
# Below this many levels, rounding leaves -1, 0 and 1 at most.
ONE_LEVEL = 1.5


def range_spreads(graph: OpGraph, plan: FoldPlan, peaks: Peaks | None = None) -> tuple[RangeSpread, ...]:
    """For each convolution and linear layer that the plan edits, in graph order. Reads weights not yet in `peaks`."""
    seen = peaks or Peaks()
    edited = ((graph.ops[index], edit) for index, edit in plan.edits.items())
    return tuple(
        _spread(op.name, seen.of(op.detail), largest_weights(op.detail, edit, seen))
        for op, edit in edited
        if isinstance(op.detail, Conv | Linear)
    )


def _spread(layer: str, before: Array, after: Array) -> RangeSpread:
    return RangeSpread(layer, before.size, _ratio(before), _ratio(after), _coarse(before), _coarse(after))


def _ratio(largest: Array) -> float:
    """Largest over smallest, of channels that are not all zero; 1 where there is none."""
    nonzero = largest[largest > 0]
    return float(nonzero.max() / nonzero.min()) if nonzero.size else 1.0


def _coarse(largest: Array) -> int:
    """Channels that get at most one level. One that is all zero loses nothing and does not count."""
    return int(np.count_nonzero((largest > 0) & (largest < ONE_LEVEL * largest.max(initial=0) / LEVELS)))
