"""half_accumulation: a norm that sums up in half precision."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.causes.evidence import PartingEvidence, distance, either
from normdiag.comparison.formulas import normalized
from normdiag.comparison.units import unit_roundoff
from normdiag.records.diff import PartingCause

HALVES = ("float16", "bfloat16")
# In units of the last place: an output that was computed in float32 and rounded once is within one.
ROUNDED_ONCE = 4.0
LARGEST = 65504.0


@either
def half_accumulation(seen: PartingEvidence) -> PartingCause | None:
    """LayerNorm and RMSNorm sum squares; in float16 they overflow above 65,504 and lose digits long before.

    B is in half precision, and its output is off from what its own input gives in float64 by far more than rounding
    the result once does.
    """
    norm, x = seen.b.norm or seen.a.norm, seen.fed
    if norm is None or x is None or seen.b.coarse not in HALVES:
        return None
    made = normalized(x, norm)
    if made is None or made.size != seen.b.y.size or not np.isfinite(x).all():
        return None
    off, unit = distance(made, seen.b.y), 2 * unit_roundoff(seen.b.coarse)
    if off <= ROUNDED_ONCE * unit:
        return None
    square = float(np.max(np.sum(x**2, axis=-1)))
    over = f"; sums of squares reach {square:,.0f}, and float16 ends at 65,504" if square > LARGEST else ""
    share = "all of its values" if not np.isfinite(off) else f"{off:.2g} of its largest value"
    return PartingCause(
        "half_accumulation",
        f"{norm.kind.replace('_', ' ')} accumulates in {seen.b.coarse} in {seen.b.letter}.",
        f"the same input in float64 gives an output that {seen.b.letter} misses by {share}, "
        f"where rounding explains {unit:.1g}{over}",
        "Compute the norm in float32 and convert its output: keep it out of the conversion to half precision.",
    )
