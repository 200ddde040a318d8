"""Massive activations, and how much a rotation takes away of what stands out, on a few samples of a norm's input."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records.outliers import MassiveActivation, NormOutliers
from normdiag.records.precision import NormRows

Floats = NDArray[Any]
# Sun et al. 2024, Massive Activations in Large Language Models, section 2.
SIZE, RATIO = 100.0, 1000.0
# A channel is an outlier from this many times the RMS of the median channel on.
CHANNEL = 5.0
SHOWN, TOKENS = 4, 5
# About as many groups as are rotated.
GROUPS = 256
# The odd part of a number of features, up to which a dense orthogonal matrix is made beside the Hadamard one.
LARGEST_ODD = 1024


def measure_outliers(layer: str, held: NormRows) -> NormOutliers:
    """What stands out of the rows (G, n) that a LayerNorm or RMSNorm normalizes."""
    x = np.asarray(held.rows, np.float64)
    centred = x if held.kind == "rms_norm" else x - x.mean(axis=1, keepdims=True)
    some = centred[:: max(1, len(centred) // GROUPS)]
    turned = rotated(some)
    crest, kurtosis = stand_out(some)
    rotated_crest, rotated_kurtosis = (None, None) if turned is None else stand_out(turned)
    rms = np.sqrt(np.mean(centred**2, axis=0))
    features = np.flatnonzero(rms > CHANNEL * np.median(rms)) if np.median(rms) > 0 else np.zeros(0, int)
    largest = features[np.argsort(-rms[features])][:SHOWN]
    return NormOutliers(
        layer,
        len(some),
        crest,
        kurtosis,
        rotated_crest,
        rotated_kurtosis,
        tuple(map(int, largest)),
        massive(x, held.place),
    )


def massive(x: Floats, place: Floats | None) -> tuple[MassiveActivation, ...]:
    """The features of the rows (G, n) with massive activations, the largest first; `place` (G,) are their tokens."""
    size = np.abs(x)
    usual = float(np.median(size)) if size.size else 0.0
    beyond = (size > SIZE) & (size >= RATIO * usual) if usual > 0 else np.zeros(x.shape, bool)
    found = []
    for feature in np.flatnonzero(beyond.any(axis=0)):
        rows = np.flatnonzero(beyond[:, feature])
        top = float(x[rows[np.argmax(size[rows, feature])], feature])
        tokens = [] if place is None else Counter(map(int, place[rows])).most_common(TOKENS)
        each = MassiveActivation(int(feature), len(rows), top, abs(top) / usual, tuple(token for token, _ in tokens))
        found.append(each)
    return tuple(sorted(found, key=lambda each: -abs(each.largest))[:SHOWN])


def stand_out(x: Floats) -> tuple[float, float]:
    """max|x| / RMS and mean(x^4) / mean(x^2)^2 of each row, mean over those that are not zero."""
    square = np.mean(x**2, axis=1)
    kept, square = x[square > 0], square[square > 0]
    if not len(kept):
        return 0.0, 0.0
    crest = np.abs(kept).max(axis=1) / np.sqrt(square)
    return float(crest.mean()), float(np.mean(np.mean(kept**4, axis=1) / square**2))


def rotated(x: Floats, seed: int = 0) -> Floats | None:
    """The rows (G, n) times a random orthogonal matrix: random signs, then Hadamard on the power of 2 in n.

    The odd part of n takes a dense orthogonal matrix; None where it is too large for one. Ashkboos et al. 2024, QuaRot.
    """
    n = x.shape[1]
    power = n & -n
    odd = n // power
    if odd > LARGEST_ODD:
        return None
    random = np.random.default_rng(seed)
    y = (x * random.choice([-1.0, 1.0], n)).reshape(len(x), odd, power)
    if odd > 1:
        dense, _ = np.linalg.qr(random.normal(size=(odd, odd)))
        y = np.einsum("goq,po->gpq", y, dense)
    step = 1
    while step < power:
        y = y.reshape(len(x), odd, power // (2 * step), 2, step)
        y = np.stack([y[..., 0, :] + y[..., 1, :], y[..., 0, :] - y[..., 1, :]], axis=-2)
        step *= 2
    made: Floats = y.reshape(len(x), n) / np.sqrt(power)
    return made
