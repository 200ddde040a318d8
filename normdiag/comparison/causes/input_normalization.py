"""input_normalization: the normalization of the input is missing in one model, or done twice."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.causes.evidence import PartingEvidence, either
from normdiag.records.diff import PartingCause
from normdiag.records.model import Array

# How little a scale and shift per channel may leave unexplained, as a share of the spread.
UNEXPLAINED = 1e-3

ScaleAndShift = tuple[Array, Array]


@either
def input_normalization(seen: PartingEvidence) -> PartingCause | None:
    """One model subtracts mean and divides by deviation by itself, and the other does not, or does it again.

    What reaches the first layer in each is the input after a scale and shift of each channel; compared with each other,
    they tell whether B's are missing or A's twice over.
    """
    places = [(seen.a.x, seen.b.x)]
    if seen.a.norm is None and seen.b.norm is None:  # a norm that stands first scales and shifts by itself
        places.append((seen.a.y, seen.b.y))
    fed = seen.a.fed
    for one, two in places:
        if one is None or two is None or not (one.shape == two.shape == fed.shape) or np.allclose(one, two, 1e-3, 1e-5):
            continue
        of_a, of_b = _scale_and_shift(fed, one), _scale_and_shift(fed, two)
        if of_a is None or of_b is None:
            continue
        if _is_identity(of_b):
            return _missing(seen, of_a)
        if _near(of_b, (of_a[0] ** 2, of_a[0] * of_a[1] + of_a[1])):
            return _doubled(seen, of_a)
        if (
            not _is_identity(of_a)
            and seen.a.letter == "A"
            and not _near(of_a, (of_b[0] ** 2, of_b[0] * of_b[1] + of_b[1]))
        ):
            return _other()
    return None


def _missing(seen: PartingEvidence, of_a: ScaleAndShift) -> PartingCause:
    a, b = seen.a.letter, seen.b.letter
    return PartingCause(
        "input_normalization",
        f"The normalization of the input is in {a} and missing in {b}.",
        f"before its first layer {a} computes {_told(of_a)}; {b} takes the input as it is",
        f"Feed {b} normalized input, or export the model with the normalization in it.",
    )


def _doubled(seen: PartingEvidence, of_a: ScaleAndShift) -> PartingCause:
    b = seen.b.letter
    return PartingCause(
        "input_normalization",
        f"The normalization of the input is done twice in {b}.",
        f"before its first layer {b} computes {_told(of_a)} twice",
        f"Take one of the two out of {b}.",
    )


def _other() -> PartingCause:
    return PartingCause(
        "input_normalization",
        "The input is normalized in another way in B than in A.",
        "what reaches the first layer differs by a scale and shift of each channel",
        "Give both the mean and deviation of the training.",
    )


def _told(found: ScaleAndShift) -> str:
    scale, shift = found
    with np.errstate(all="ignore"):
        mean = ", ".join(f"{each:.4g}" for each in -shift / scale)
        deviation = ", ".join(f"{each:.4g}" for each in 1 / scale)
    return f"(x - ({mean})) / ({deviation})"


def _scale_and_shift(fed: Array, found: Array) -> ScaleAndShift | None:
    """Per channel, (C,) each; None where that is not all that was done."""
    if fed.ndim < 2:
        return None
    x, y = (np.moveaxis(each, 1, 0).reshape(each.shape[1], -1) for each in (fed, found))
    centred, spread = x - x.mean(1, keepdims=True), x.std(1)
    if not (spread > 0).all():
        return None
    scale = (centred * y).mean(1) / spread**2
    shift = y.mean(1) - scale * x.mean(1)
    left = np.abs(y - scale[:, None] * x - shift[:, None]).max()
    return (scale, shift) if left <= UNEXPLAINED * max(float(y.std()), 1e-30) else None


def _is_identity(found: ScaleAndShift) -> bool:
    return bool(np.allclose(found[0], 1, atol=1e-3) and np.allclose(found[1], 0, atol=1e-3))


def _near(one: ScaleAndShift, two: ScaleAndShift) -> bool:
    return not _is_identity(two) and all(np.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in zip(one, two, strict=True))
