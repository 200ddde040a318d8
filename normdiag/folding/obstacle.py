"""What stands in the way of a fold."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records import Op


@dataclass(frozen=True)
class Obstacle:
    """Why an affine map goes no further. `reason` is a clause that reads well after 'stays: '; `at` names the culprit.

    `shift_only`: a map that only scales would have passed.
    """

    reason: str
    at: str | None = None
    shift_only: bool = False


def titled(op: Op) -> str:
    """How messages call an operation: Conv 'layer1.conv'."""
    return f"{op.operator} {op.name!r}"


def blocked(op: Op, reason: str, *, shift_only: bool = False) -> Obstacle:
    """An obstacle that lies in `op`; the reason may say {op}."""
    return Obstacle(reason.replace("{op}", titled(op)), op.name, shift_only)
