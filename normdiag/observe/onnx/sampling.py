"""Nodes that pick values of a tensor at random places: the only ones of a smooth activation that leave the graph.

Which places there are is known when the model runs. So the numbers 0 + u, 1 + u, 2 + u, ... with random u in [0, 1)
are fed as STRATA; stretched to the number of places, as many of them as are wanted name one place in each stretch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.observe.onnx.edit import DOUBLE, INT64, PREFIX, GraphEdit
from normdiag.observe.sampled import BUDGET, FEWEST, choose, wanted

STRATA = f"{PREFIX}strata"
# Since then Slice takes its ends from tensors; in older models all values leave the graph.
FIRST_OPSET = 10


@dataclass(frozen=True)
class SampledPlaces:
    """Names of the graph outputs that hold the picked values, with the places on `axis`, and their number."""

    values: str
    total: str
    axis: int

    def of(self, values: NDArray[Any], total: NDArray[Any], random: np.random.Generator) -> tuple[NDArray[Any], int]:
        """The picked values with the places first, and how many places there are."""
        places = int(total.reshape(-1)[0])
        picked = np.moveaxis(values, self.axis, 0)
        if len(picked) == places:  # all of them, where the graph could not choose
            picked = picked[choose(places, wanted(places, picked.size), random)]
        return picked, places


def strata(random: np.random.Generator) -> NDArray[np.float64]:
    """What to feed as STRATA."""
    return np.arange(BUDGET) + random.random(BUDGET) * (1.0 - 1e-6)


def pick(edit: GraphEdit, x: str, axis: int) -> SampledPlaces:
    """Add the picking of places on `axis` of a tensor; all that is on other axes is picked with them."""
    shape = edit.node("Shape", x)
    total = edit.output(edit.node("Gather", shape, edit.constant([axis], np.int64)))
    if edit.opset < FIRST_OPSET:
        return SampledPlaces(edit.output(x), total, axis)
    one, places = edit.constant([1.0], np.float64), edit.cast(total, DOUBLE)
    size = edit.cast(edit.node("Size", x), DOUBLE)
    affordable = edit.node("Mul", places, edit.constant([float(BUDGET)], np.float64))
    affordable = edit.node("Floor", edit.node("Div", affordable, edit.node("Max", size, one)))
    count = edit.node("Min", places, edit.node("Max", affordable, edit.constant([float(FEWEST)], np.float64)))
    ends = edit.cast(count, INT64)
    chosen = edit.node("Slice", edit.input(STRATA, np.float64, BUDGET), edit.constant([0], np.int64), ends)
    stretched = edit.node("Mul", chosen, edit.node("Div", places, edit.node("Max", count, one)))
    index = edit.cast(edit.node("Floor", stretched), INT64)
    return SampledPlaces(edit.output(edit.node("Gather", x, index, axis=axis)), total, axis)
