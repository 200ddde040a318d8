"""other_activation: another function of each value."""

from __future__ import annotations

from normdiag.comparison.causes.evidence import PartingEvidence
from normdiag.records.diff import PartingCause
from normdiag.records.ops import Opaque, Pointwise


def other_activation(seen: PartingEvidence) -> PartingCause | None:
    """GELU with and without tanh, another slope, a clip with other ends.

    The same goes in, and the two graphs name different functions, or one function with other numbers.
    """
    a, b = _function(seen.a.op.detail), _function(seen.b.op.detail)
    if a is None or b is None or a == b:
        return None
    return PartingCause(
        "other_activation",
        f"The activation is {_told(a, b)} in A and {_told(b, a)} in B.",
        "the graphs name different functions, and the same goes in",
        "Export with the function of the training.",
    )


def _function(detail: object) -> Pointwise | None:
    return detail.function if isinstance(detail, Opaque) else None


def _told(one: Pointwise, other: Pointwise) -> str:
    if one.kind != other.kind:
        return one.kind
    numbers = [f"{name} {getattr(one, name):.4g}" for name in ("alpha", "beta", "low", "high")]
    kept = [
        n
        for n, o in zip(
            numbers, [f"{k} {getattr(other, k):.4g}" for k in ("alpha", "beta", "low", "high")], strict=True
        )
        if n != o
    ]
    return f"{one.kind} with {', '.join(kept)}"
