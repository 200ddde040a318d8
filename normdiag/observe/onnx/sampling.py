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
from normdiag.observe.onnx.session import Values
from normdiag.observe.sampled import BUDGET, FEWEST, choose, wanted

STRATA = f"{PREFIX}strata"
# Since then Slice takes its ends from tensors; in older models all values leave the graph.
FIRST_OPSET = 10


@dataclass(frozen=True)
class SampledPlaces:
    """Names of the graph outputs that hold the picked values, with the places on `axis`, the number of all places, and
    the `index` of the picked ones; None where the graph could not choose, and all are there.
    """

    values: str
    total: str
    axis: int
    index: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        return tuple(name for name in (self.values, self.total, self.index) if name is not None)

    def of(self, outputs: Values, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.int64], int]:
        """The picked values with the places first, these places, and how many there are."""
        places = int(outputs[self.total].reshape(-1)[0])
        picked = np.moveaxis(outputs[self.values], self.axis, 0)
        if self.index is not None:
            return picked, outputs[self.index], places
        chosen = choose(places, wanted(places, picked.size), random)
        return picked[chosen], chosen, places


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
    picked = edit.output(edit.node("Gather", x, index, axis=axis))
    return SampledPlaces(picked, total, axis, edit.output(index))
