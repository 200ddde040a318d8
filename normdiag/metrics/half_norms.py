"""Norms in float16 and bfloat16, simulated to the last bit and held against float64.

All arithmetic is float32, rounded to the format after each step: for addition, subtraction, multiplication, division
and square root that gives what the format's own arithmetic gives, since float32 has more than 2 p + 2 digits (Figueroa
1995, When is double rounding innocuous?), 24 for the p = 11 of float16. The forms, which all round their input and
output to the format:

- sequential: squares and the running sum are kept in the format, one value added after the other.
- pairwise: the same, added up in a tree, as parallel reductions do.
- float32_sums: squares are rounded, sums kept in float32, means rounded: a norm spelled out in operators.
- float32: everything inside is float32: a fused kernel, or a norm that casts its input.
- rescaled: pairwise, on the input divided by the largest |x| of the group, with eps divided by its square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records.metrics import GroupMetrics
from normdiag.records.model import NormKind, NormLayer
from normdiag.records.precision import FORMS, Form, Half, NormInHalf, NormRows

Floats = NDArray[Any]
Round = Callable[[Floats], Floats]
# Groups that are simulated, and the longest that are added up one value after the other.
GROUPS, LONGEST = 128, 1 << 16


def measure_in_half(layer: NormLayer, seen: GroupMetrics | None, held: NormRows | None, target: Half) -> NormInHalf:
    """What the layer computes in the format, from what all data showed and the groups of the samples held."""
    largest = None if seen is None else seen.largest_sum
    share = None if seen is None else seen.overflowing if target == "fp16" else 0.0
    size = 0 if seen is None else seen.group_size
    if held is None or not held.rows.size:
        return NormInHalf(layer.name, layer.kind, size, largest, share, 0)
    rows = chosen_rows(held.rows)
    kept = float(rounding(target)(np.array(held.eps)))
    exact, eps_alone = normalized(rows, held.kind, held.eps), normalized(rows, held.kind, kept)
    errors = {form: relative_error(exact, in_half(rows, held.kind, held.eps, form, target)) for form in _forms(rows)}
    eps_error = relative_error(exact, eps_alone)
    return NormInHalf(layer.name, held.kind, rows.shape[1], largest, share, len(rows), errors, kept, eps_error)


def chosen_rows(rows: Floats) -> Floats:
    """At most GROUPS of the rows: those with the largest and the smallest sum of squares, and some in between."""
    if len(rows) <= GROUPS:
        return rows
    order = np.argsort(np.sum(np.square(rows, dtype=np.float64), axis=1))
    chosen: Floats = rows[np.sort(order[np.linspace(0, len(rows) - 1, GROUPS).round().astype(int)])]
    return chosen


def normalized(rows: Floats, kind: NormKind, eps: float) -> Floats:
    """The rows (G, n) normalized in float64, before gamma and beta."""
    x = np.asarray(rows, np.float64)
    centred = x if kind == "rms_norm" else x - x.mean(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        made: Floats = centred / np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + eps)
    return made


def in_half(rows: Floats, kind: NormKind, eps: float, form: Form, target: Half) -> Floats:
    """The rows (G, n) normalized in the format, by one of the forms, before gamma and beta; float32."""
    r = rounding(target)
    with np.errstate(all="ignore"):
        x = r(np.asarray(rows, np.float32))
        if form == "rescaled":
            peak = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            return _normalized(r(x / peak), kind, r(eps / (peak * peak)), r, _pairwise)
        if form == "float32":
            return r(_normalized(x, kind, np.array(eps, np.float32), lambda value: value, _wide))
        total = {"sequential": _sequential, "pairwise": _pairwise, "float32_sums": _wide}[form]
        return _normalized(x, kind, r(np.array(eps)), r, total)


def relative_error(exact: Floats, made: Floats) -> float:
    """RMS of the difference over the RMS of the exact values; infinite where a value is not finite."""
    known = np.isfinite(exact)
    if not np.isfinite(made[known]).all():
        return float("inf")
    size = float(np.sum(exact[known] ** 2))
    off = float(np.sum((made[known].astype(np.float64) - exact[known]) ** 2))
    return float(np.sqrt(off / size)) if size > 0 else (0.0 if off == 0 else float("inf"))


def rounding(target: Half) -> Round:
    """What rounds float32 to the format, and gives float32 again."""
    if target == "fp16":
        return lambda values: np.asarray(values, np.float32).astype(np.float16).astype(np.float32)
    import ml_dtypes

    return lambda values: np.asarray(values, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def _forms(rows: Floats) -> tuple[Form, ...]:
    return FORMS if rows.shape[1] <= LONGEST else tuple(form for form in FORMS if form != "sequential")


def _normalized(x: Floats, kind: NormKind, eps: Floats, r: Round, total: Callable[[Floats, Round], Floats]) -> Floats:
    count = np.float32(x.shape[1])
    centred = x if kind == "rms_norm" else r(x - r(total(x, r) / count))
    variance = r(total(r(centred * centred), r) / count)
    return r(centred / r(np.sqrt(r(variance + eps))))


def _wide(x: Floats, _: Round) -> Floats:
    return np.asarray(np.sum(x, axis=1, keepdims=True, dtype=np.float32))


def _sequential(x: Floats, r: Round) -> Floats:
    total = np.zeros((len(x), 1), np.float32)
    for column in np.ascontiguousarray(x.T)[:, :, None]:
        total = r(total + column)
    return total


def _pairwise(x: Floats, r: Round) -> Floats:
    while x.shape[1] > 1:
        if x.shape[1] % 2:
            x = np.concatenate([x, np.zeros((len(x), 1), np.float32)], axis=1)
        x = r(x[:, ::2] + x[:, 1::2])
    return x
