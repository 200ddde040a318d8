"""Other copies of the model in its file, and how far they are from the one that was taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.static.inert import MalformedError, TensorRef, shown
from normdiag.models.static.names import find_wrappers
from normdiag.models.static.tensors import read_tensor
from normdiag.records import CopyComparison

MEAN, VAR, TRACKED = ".running_mean", ".running_var", ".num_batches_tracked"
# What an average of the weights is called inside the state dict of a module that holds both.
AVERAGED = ("ema", "swa", "averag", "shadow", "teacher")
EPS = 1e-5
# Enough weights to tell how far two copies are apart; the whole of a large model would be read twice.
MAX_ELEMENTS = 1 << 22
MAX_COPIES = 8

Tensors = Mapping[str, TensorRef]


@dataclass(frozen=True, eq=False)
class NamedCopy:
    """The tensors of one copy, and where in the file it lies."""

    name: str
    tensors: Tensors


def compare_copies(taken: NamedCopy, others: Sequence[NamedCopy]) -> tuple[CopyComparison, ...]:
    """How far the others are from the one taken, where they are copies of it and hold running statistics.

    A copy has the same names, but for what wrappers put in front, and the same shapes. At most eight are looked at,
    and of each the statistics and the first 4 million weights.
    """
    own = _without_wrappers(taken.tensors)
    found = ((other, _without_wrappers(other.tensors)) for other in others)
    alike = [(other, tensors) for other, tensors in found if _is_copy(own, tensors)]
    compared = (_compare(own, tensors, other.name, taken.name) for other, tensors in alike[:MAX_COPIES])
    return tuple(each for each in compared if each is not None)


def inner_copies(tensors: Tensors) -> Iterator[tuple[NamedCopy, NamedCopy]]:
    """Pairs of a model and its average, side by side in one state dict: `model.*` and `ema_model.*`."""
    parts: dict[str, dict[str, TensorRef]] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(first, {})[rest] = tensor
    with_statistics = {first: part for first, part in parts.items() if any(name.endswith(VAR) for name in part)}
    averages = [first for first in with_statistics if any(word in first.lower() for word in AVERAGED)]
    for average in averages[:MAX_COPIES]:
        for first in [first for first in with_statistics if first not in averages][:MAX_COPIES]:
            yield NamedCopy(first, with_statistics[first]), NamedCopy(average, with_statistics[average])


def _without_wrappers(tensors: Tensors) -> Tensors:
    wrappers = find_wrappers([name for name in tensors if "." in name])
    return {wrappers.strip(name): tensor for name, tensor in tensors.items()}


def _is_copy(own: Tensors, other: Tensors) -> bool:
    """Whether all tensors but counters are there, with equal shapes, among them running statistics."""
    names = [name for name in own if "." in name and not name.endswith(TRACKED)]
    same = all(name in other and other[name].shape == own[name].shape for name in names)
    return same and any(name.endswith(VAR) for name in names)


def _compare(own: Tensors, other: Tensors, name: str, taken: str) -> CopyComparison | None:
    """None where the statistics are initial throughout, or the copy is damaged."""
    norms = [each.removesuffix(VAR) for each in own if each.endswith(VAR)]
    affine = [f"{norm}.{role}" for norm in norms for role in ("weight", "bias") if f"{norm}.{role}" in own]
    weights = [each for each in own if each.endswith("weight") and len(own[each].shape) > 1]
    try:
        drift = _drift(own, other, norms)
        if drift is None:
            return None
        return CopyComparison(
            shown(name),
            shown(taken),
            _difference(own, other, weights),
            _difference(own, other, affine),
            drift,
            _tracked(own, other),
        )
    except (InputError, MalformedError):
        return None


def _difference(own: Tensors, other: Tensors, names: Sequence[str]) -> float:
    """sqrt(sum (a - b)^2 / sum a^2) over the named tensors, up to MAX_ELEMENTS elements; 0 where there are none."""
    square = difference = 0.0
    left = MAX_ELEMENTS
    for name in names:
        left -= prod(own[name].shape)
        if left < 0:
            break
        a, b = _read(own[name]), _read(other[name])
        square += float(np.sum(a * a))
        difference += float(np.sum((a - b) ** 2))
    return sqrt(difference / square) if square > 0 else 0.0


def _drift(own: Tensors, other: Tensors, norms: Sequence[str]) -> float | None:
    """RMS over all channels of the drift of the other's statistics against the own; None where all are initial."""
    squares: list[NDArray[np.float64]] = []
    initial = True
    for norm in norms:
        mean, var, mean2, var2 = (_read(of[norm + role]) for of in (own, other) for role in (MEAN, VAR))
        s = np.sqrt(np.maximum(var, 0) + EPS)
        squares.append(((mean2 - mean) / s) ** 2 + (np.sqrt(np.maximum(var2, 0) + EPS) / s - 1) ** 2)
        initial = initial and bool(np.all(mean == 0) and np.all(var == 1))
    return None if initial else float(np.sqrt(np.mean(np.concatenate([each.ravel() for each in squares]))))


def _tracked(own: Tensors, other: Tensors) -> tuple[int, int] | None:
    one, two = (
        [float(np.max(_read(tensor))) for name, tensor in each.items() if name.endswith(TRACKED) and tensor.shape == ()]
        for each in (own, other)
    )
    counts = [max(each) for each in (one, two) if each and np.isfinite(each).all()]
    return (int(counts[0]), int(counts[1])) if len(counts) == 2 else None


def _read(tensor: TensorRef) -> NDArray[Any]:
    return np.asarray(read_tensor(tensor), np.float64)
