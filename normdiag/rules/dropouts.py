"""BatchNorm layers after a dropout, and what it does to their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from normdiag.ops import FUNCTIONS
from normdiag.records import LayerMetrics, Norm, Op, Opaque, OpGraph, Pass
from normdiag.rules.flow import Flow, flow

# What leaves the ratio of the variances as it is where the values have a mean of zero.
TRANSPARENT = frozenset(
    {"conv", "conv_transpose", "linear", "scale_shift", "identity", "reshape", "transpose", "pool", "resize", "pad"}
    | {"concat", "split", "dropout"}
)
HOMOGENEOUS = frozenset(kind for kind, function in FUNCTIONS.items() if function.homogeneous)
# Mean square over variance, of values whose mean is three standard deviations.
MOST_SQUARE = 10.0


@dataclass(frozen=True)
class Shifted:
    """A BatchNorm and the dropout before it, with the share of the values that this keeps in training."""

    norm: str
    dropout: str
    keep: float

    @property
    def drift(self) -> float:
        """How far the norm's output is from a standard deviation of 1 in eval mode, for values around zero."""
        return 1.0 - self.factor(1.0)

    def explains(self, metrics: LayerMetrics) -> bool:
        """Whether the deviations seen are smaller than the stored ones, by no more than the dropout can make them."""
        seen = metrics.own or metrics.drift
        return seen is not None and self.factor(MOST_SQUARE) <= float(np.median(seen.r)) < 1.0

    def factor(self, square: float) -> float:
        """The deviation without the dropout over that with it; `square` is the mean square over the variance.

        A dropout adds (1 - keep) / keep of the mean square to the variance (Li et al. 2018, section 3).
        """
        return math.sqrt(1.0 / (1.0 + square * (1.0 - self.keep) / self.keep))


def shifted(graph: OpGraph | None) -> Mapping[str, Shifted]:
    """Each BatchNorm after a dropout, by its name, with the dropout that drops most; none where no graph is known."""
    found: dict[str, Shifted] = {}
    if graph is None:
        return found
    links = flow(graph)
    for op in graph.ops:
        keep = op.detail.keep if op.kind == "dropout" and isinstance(op.detail, Pass) else None
        if keep is None or not 0.0 < keep < 1.0:
            continue
        for norm in _norms_after(op, links):
            if norm not in found or keep < found[norm].keep:
                found[norm] = Shifted(norm, op.name, keep)
    return found


def _norms_after(start: Op, links: Flow) -> Iterator[str]:
    """BatchNorm layers with running statistics that a dropout's output reaches."""
    queue, seen = [start], {id(start)}
    while queue:
        for op in links.after(queue.pop()):
            if id(op) in seen:
                continue
            seen.add(id(op))
            if isinstance(op.detail, Norm) and op.detail.layer.kind == "batch_norm" and op.detail.scale is not None:
                yield op.detail.layer.name
            elif op.kind in TRANSPARENT or _is_homogeneous(op):
                queue.append(op)


def _is_homogeneous(op: Op) -> bool:
    function = op.detail.function if isinstance(op.detail, Opaque) else None
    return function is not None and function.kind in HOMOGENEOUS
