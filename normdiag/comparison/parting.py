"""Where two models part: how far apart they are after each layer, and the first that rounding does not explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from normdiag.comparison.places import PlacePair
from normdiag.folding.bound import ROUNDOFF, Depth, accepted, coarsest, depth
from normdiag.folding.compare import Difference, difference, worst
from normdiag.records import FoldPlan, OpGraph
from normdiag.records.model import Array


@dataclass
class ApartSums:
    """How far one place of A is from that of B, over batches: largest values, and sums of squares."""

    differences: list[Difference] = field(default_factory=list)
    square: float = 0.0
    moved: float = 0.0

    def add(self, before: Array, after: Array) -> None:
        """One more batch; arrays of one number of values and another shape are compared in their order."""
        after = after.reshape(before.shape) if after.size == before.size else after
        found = difference(before, after)
        if found.lost:  # what is not finite in A alone is as large a difference as in B alone
            found = replace(found, largest=math.inf)
        self.differences = [worst([*self.differences, found])]
        if before.shape == after.shape:
            a, b = before.astype(np.float64), after.astype(np.float64)
            finite = np.isfinite(a) & np.isfinite(b)
            self.square += float(np.sum(a[finite] ** 2))
            self.moved += float(np.sum((b[finite] - a[finite]) ** 2))

    @property
    def largest(self) -> float:
        """max|b - a| / max|a|."""
        return self.differences[0].relative if self.differences else 0.0

    @property
    def rms(self) -> float:
        """sqrt(sum (b - a)^2 / sum a^2), over what is finite in both."""
        if self.moved == 0:
            return 0.0
        return math.sqrt(self.moved / self.square) if self.square > 0 else math.inf


@dataclass(frozen=True)
class RoundingBounds:
    """What rounding explains, by tensor of A: from the dtypes and the depth of both graphs, and A's own response."""

    a: Depth
    b: Depth
    response: Mapping[str, float]

    def of(self, tensor_a: str, tensor_b: str) -> float:
        """The largest relative difference at this place that counts as rounding."""
        roundoff = max(self.a.roundoff, self.b.roundoff)
        estimate = max(self.a.of(tensor_a), self.b.of(tensor_b))
        return accepted(estimate, roundoff, response=self.response.get(tensor_a, 0.0))


def rounding_bounds(a: OpGraph, b: OpGraph, response: Mapping[str, float]) -> RoundingBounds:
    """`response` is how far each tensor of A moves, relative to its largest value, when the input is rounded."""
    return RoundingBounds(depth(a, FoldPlan()), depth(b, FoldPlan()), response)


def roundoff_of(a: OpGraph, b: OpGraph) -> float:
    """The unit roundoff of the coarser model."""
    return max(ROUNDOFF[coarsest(a)], ROUNDOFF[coarsest(b)])


def first_parting(pairs: Sequence[PlacePair], departs: Sequence[bool], graph: OpGraph) -> int | None:
    """The first pair, in A's order, that departs and whose departure goes on; None where none does.

    It goes on where one of the next places after it departs too, or where nothing comes after it. A place that
    departs alone is one that the two models compute in different ways.
    """
    following = _following(pairs, graph)
    for index, far in enumerate(departs):
        after = following[index]
        if far and (not after or any(departs[other] for other in after)):
            return index
    return None


def _following(pairs: Sequence[PlacePair], graph: OpGraph) -> list[set[int]]:
    """For each pair the pairs that come next after it in A, on every path."""
    at = {pair.a.position: index for index, pair in enumerate(pairs)}
    sources: dict[str, set[int]] = {}
    following: list[set[int]] = [set() for _ in pairs]
    for position, op in enumerate(graph.ops):
        before: set[int] = set().union(*(sources.get(name, set()) for name in op.inputs))
        index = at.get(position)
        if index is not None:
            for each in before:
                following[each].add(index)
            before = {index}
        for name in op.outputs:
            sources[name] = before
    return following
