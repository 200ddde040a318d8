"""other_eps: the same normalization with another eps."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.causes.evidence import PartingEvidence, distance, either
from normdiag.comparison.formulas import normalized
from normdiag.records import NormLayer
from normdiag.records.diff import PartingCause
from normdiag.records.model import Array

# Values of eps that are tried before the best is refined.
TRIED = (0.0, *np.logspace(-13, 0, 40).tolist())
# What is left of the difference with the right eps.
LEFT = 0.15


@either
def other_eps(seen: PartingEvidence) -> PartingCause | None:
    """eps was lost, changed, or replaced by a default on the way.

    A's output is its own formula on its input, and B's output is the same formula with another eps, which the files
    say or which is fitted.
    """
    norm, x = seen.a.norm, seen.fed
    if norm is None or norm.eps is None or x is None:
        return None
    told = None if seen.b.norm is None else seen.b.norm.eps
    same = told is not None and np.isclose(told, norm.eps, rtol=1e-3, atol=0)
    if told is None or same:
        told = _fitted(norm, x, seen.b.y)
    if told is None or np.isclose(told, norm.eps, rtol=0.05, atol=0):
        return None
    left = distance(seen.b.y, normalized(x, norm, told))
    if left > max(LEFT * seen.apart, 1e-7) or left > distance(seen.b.y, normalized(x, norm)) * LEFT:
        return None
    a, b = seen.a.letter, seen.b.letter
    return PartingCause(
        "other_eps",
        f"eps is {norm.eps:.3g} in {a} and {'lost' if told < norm.eps / 100 else f'{told:.3g}'} in {b}.",
        f"with eps {told:.3g} in place of {norm.eps:.3g} the difference falls from {seen.apart:.2g} to {left:.2g}",
        f"Give {b} the eps that the model was trained with: {norm.eps:.3g}.",
    )


def _fitted(norm: NormLayer, x: Array, y: Array) -> float | None:
    """The eps with which the formula comes nearest to the output."""

    def left(eps: float) -> float:
        made = normalized(x, norm, eps)
        return float("inf") if made is None or made.size != y.size else float(np.mean((made.reshape(y.shape) - y) ** 2))

    with np.errstate(all="ignore"):
        best = min(TRIED, key=left)
        for factor in (1.5, 1.1, 1.02, 1.005):
            best = min((best, *(best * factor**k for k in range(-4, 5))), key=left)
    return best if np.isfinite(left(best)) else None
