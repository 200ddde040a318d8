"""What the causes are judged by: the layer where two models part, from both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from normdiag.records import Norm, NormLayer, Op
from normdiag.records.diff import LayerDifference, PartingCause
from normdiag.records.model import Array

Letter = Literal["A", "B"]
# A formula fits where it leaves so little of the difference, and what is declared leaves so much more.
FITS, BETTER = 0.02, 5.0


@dataclass(frozen=True, eq=False)
class Side:
    """One model at the layer: its op, what goes in and comes out (float64 of one batch), in which dtype.

    `fed` is the first input of the model; `coarse` its coarsest dtype; `quantized` whether the layer works on values
    that were quantized.
    """

    letter: Letter
    op: Op
    x: Array | None
    y: Array
    dtype: str
    fed: Array
    coarse: str = "float32"
    quantized: bool = False

    @property
    def norm(self) -> NormLayer | None:
        """Where the op is a normalization."""
        return self.op.detail.layer if isinstance(self.op.detail, Norm) else None


@dataclass(frozen=True, eq=False)
class PartingEvidence:
    """Both sides, what the layer stores differently (None where it was not paired), and what all layers do.

    `rounding` is the relative difference that rounding explains here.
    """

    a: Side
    b: Side
    stored: LayerDifference | None
    layers: tuple[LayerDifference, ...]
    rounding: float

    @property
    def swapped(self) -> PartingEvidence:
        """The same seen from the other model."""
        return replace(self, a=self.b, b=self.a)

    @property
    def fed(self) -> Array | None:
        """What goes into B's layer; where that is spelled out in several ops, what goes into A's, which is the same."""
        return self.b.x if self.b.norm is not None and self.b.x is not None else self.a.x

    @property
    def apart(self) -> float:
        """How far the outputs are apart, as a share of the largest."""
        return distance(self.a.y, self.b.y)


PartingTest = Callable[[PartingEvidence], "PartingCause | None"]


def either(test: PartingTest) -> PartingTest:
    """The test as it is written, with the fault in B, and the other way round."""

    def both(seen: PartingEvidence) -> PartingCause | None:
        return test(seen) or test(seen.swapped)

    both.__name__ = getattr(test, "__name__", "both")
    both.__doc__ = test.__doc__
    return both


def distance(a: Array, b: Array | None) -> float:
    """max|b - a| / max|a|; infinite where shapes differ, or where one is finite and the other is not."""
    if b is None or a.size != b.size:
        return float("inf")
    b = b.reshape(a.shape)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    scale = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
    with np.errstate(all="ignore"):
        gap = float(np.nanmax(np.abs(np.where(a == b, 0.0, b - a)), initial=0.0))
    return 0.0 if gap == 0 else gap / scale if scale > 0 else float("inf")


def fits(seen: PartingEvidence, found: Array, made: Array | None) -> bool:
    """Whether `made` is `found`: the difference of the two models all but goes."""
    left = distance(found, made)
    return left <= max(seen.rounding, min(FITS, seen.apart / BETTER))
