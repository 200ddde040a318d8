"""The batch-vs-eval gap: a network's outputs under batch statistics against those under running statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records import OutputSums, Span

Floats = NDArray[np.float64]
Array = NDArray[Any]

# Rows are taken as probabilities when they add up to 1 within what half precision loses over a thousand classes.
PROBABILITY_TOLERANCE = 1e-2
# Values that are turned into float64 at a time: 8 MB, so that a comparison costs no memory to speak of.
CHUNK = 1 << 20


def compare_outputs(
    reference: Mapping[str, Array], other: Mapping[str, Array], span: Span | None = None
) -> dict[str, OutputSums]:
    """The sums of every output that both have in the same shape, by name; empty ones, as of no box, have none.

    Integer outputs (labels, counts) are left out beside floating ones: the distance of two labels means nothing.
    """
    both = {name: (y, other[name]) for name, y in reference.items() if name in other and y.size}
    pairs = {name: pair for name, pair in both.items() if pair[0].shape == pair[1].shape}
    floating = {name: pair for name, pair in pairs.items() if is_floating(pair[0])}
    return {name: output_sums(y, changed, span) for name, (y, changed) in (floating or pairs).items() if _numeric(y)}


def output_sums(reference: Array, other: Array, span: Span | None = None) -> OutputSums:
    """The sums of one output of any shape under some statistics (reference) and under others (other).

    Both have the same shape, samples first, and a real numeric dtype; the arithmetic is float64; `span` is where the
    batch lies in the data. Floating outputs of shape (N, K) with K > 1 count as scores of K classes: log-odds, or
    probabilities where every row already is a distribution.
    """
    rows = reference.shape[0] if reference.ndim else 1
    flat = rows, reference.size // max(rows, 1)
    squares = _squares(reference.reshape(flat), other.reshape(flat))
    if not (reference.ndim == 2 and reference.shape[1] > 1 and is_floating(reference)):
        return OutputSums.of(*squares, span=span)
    y, changed = reference.astype(np.float64), other.astype(np.float64)
    divergence = jensen_shannon(*_distributions(y, changed))
    more = decidedness(changed) - decidedness(y)
    best = y.argmax(1)
    answers = np.bincount(best, minlength=y.shape[1]).astype(np.int64)
    return OutputSums.of(*squares, best != changed.argmax(1), divergence, span, more, answers)


def decidedness(scores: Floats) -> Floats:
    """How far the best of the scores (N, K) of each row stands out: best less second best, in their deviation; (N,).

    Free of the scale and offset of the scores, so that a model that is merely loud does not count as sure. Of two
    classes it is always 2, and of values that are not finite 0. Probabilities count by their logarithm.
    """
    if scores.shape[1] < 3:
        return np.full(len(scores), 2.0)
    odds = np.log(np.maximum(scores, 1e-30)) if are_probabilities(scores) else scores
    second, best = np.partition(odds, -2, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(np.nan_to_num((best - second) / odds.std(1), nan=0.0, posinf=0.0, neginf=0.0))


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon divergence in nats (0 to ln 2) of each row of p from the same row of q, both (N, K); (N,).

    JS = (KL(p | m) + KL(q | m)) / 2 with m = (p + q) / 2 (Lin 1991).
    """
    middle = (p + q) / 2
    return np.maximum((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2, 0.0)


def class_scores(output: Array) -> Floats | None:
    """An output (N, K) of scores of K > 1 classes as probabilities in float64; None for any other."""
    if not (output.ndim == 2 and output.shape[1] > 1 and is_floating(output)):
        return None
    scores = output.astype(np.float64)
    return scores / scores.sum(1, keepdims=True) if are_probabilities(scores) else _softmax(scores)


def is_floating(array: Array) -> bool:
    """Whether the dtype is a floating one; bfloat16 and float8 of ml_dtypes count."""
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def _numeric(array: Array) -> bool:
    return array.dtype.kind in "fiub" or is_floating(array)


def _squares(reference: Array, other: Array) -> tuple[Floats, Floats]:
    """Of both (N, K), per row the sums of (other - reference)^2 and of reference^2, (N,)."""
    difference_square, reference_square = np.zeros(len(reference)), np.zeros(len(reference))
    rows = max(1, CHUNK // max(1, reference.shape[1]))
    for start in range(0, len(reference), rows):
        for column in range(0, reference.shape[1], CHUNK):
            part = slice(start, start + rows), slice(column, column + CHUNK)
            y = reference[part].astype(np.float64)
            difference = other[part].astype(np.float64) - y
            difference_square[part[0]] += np.einsum("ij,ij->i", difference, difference)
            reference_square[part[0]] += np.einsum("ij,ij->i", y, y)
    return difference_square, reference_square


def _distributions(y: Floats, changed: Floats) -> tuple[Floats, Floats]:
    if are_probabilities(y) and are_probabilities(changed):
        return y / y.sum(1, keepdims=True), changed / changed.sum(1, keepdims=True)
    return _softmax(y), _softmax(changed)


def are_probabilities(rows: Floats) -> bool:
    """Whether every row of scores (N, K) is a distribution over the classes already."""
    return bool((rows >= 0).all() and (np.abs(rows.sum(1) - 1) < PROBABILITY_TOLERANCE).all())


def _softmax(rows: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and nan is what such a row has to say
        odds = np.exp(rows - rows.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True))


def _relative_entropy(p: Floats, m: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * np.log(p / m))
    return np.asarray(terms.sum(1))
