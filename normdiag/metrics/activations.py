"""Saturation, dead units and the gradient that activations let through."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.records import ActivationMetrics, ActivationSums, GradientProduct

Floats = NDArray[np.float64]


def measure_activations(sums: Mapping[str, ActivationSums]) -> tuple[ActivationMetrics, ...]:
    """One row per activation, in the order given."""
    return tuple(_measure(name, each) for name, each in sums.items())


def gradient_product(sums: Mapping[str, ActivationSums]) -> GradientProduct | None:
    """The product of the mean squared derivatives over the depth, as if the activations formed one chain.

    The expected squared gradient of a chain of n activations scales with prod E[f'(x_i)^2] (Glorot & Bengio 2010,
    section 4.2.1, with unit-gain weights); its root is to be read beside 0.25^n, the most n sigmoids can pass.
    """
    if not sums:
        return None
    product = math.prod(_mean_square(each) for each in sums.values())
    depth, rms = len(sums), math.sqrt(product)
    return GradientProduct(depth, product, rms, 0.25**depth, _product_error(list(sums.values()), rms))


def _measure(name: str, sums: ActivationSums) -> ActivationMetrics:
    units = len(sums.saturated)
    values = max(units * sums.elements, 1)
    look = sums.sampled
    return ActivationMetrics(
        name=name,
        kind=sums.kind,
        saturated_fraction=float(sums.saturated.sum()) / values,
        mean_squared_derivative=_mean_square(sums),
        units=units,
        dead_units=int(np.count_nonzero(sums.dead)) if sums.elements else 0,
        final=sums.final,
        sampled_share=1.0 if look is None else look.values / max(look.of, 1),
        saturated_se=_ratio_error(sums.table[:, :2], 0.0 if look is None else look.saturated_variance / values**2),
        mean_squared_derivative_se=_ratio_error(sums.table[:, 2:], _shared(sums)),
    )


def _mean_square(sums: ActivationSums) -> float:
    return sums.derivative_square / max(len(sums.saturated) * sums.elements, 1)


def _shared(sums: ActivationSums) -> float:
    """The variance of the mean squared derivative that comes from the same places in all samples."""
    if sums.sampled is None:
        return 0.0
    return sums.sampled.square_variance / max(len(sums.saturated) * sums.elements, 1) ** 2


def _ratio_error(table: Floats, shared: float) -> float | None:
    """Of a sum over a number of values, from both by part (PARTS, 2), with a variance that the parts share.

    None where all samples are of one part.
    """
    counts = table[:, 0]
    without = left_out(table, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = table[:, 1].sum(keepdims=True) / counts.sum()
        error = float(jackknife(whole, without[:, 1:] / without[:, :1], counts)[0])
    return None if math.isinf(error) else math.hypot(error, math.sqrt(shared))


def _product_error(sums: list[ActivationSums], rms: float) -> float | None:
    """Of the root of the product, all activations without the same part of the samples at a time."""
    table = np.stack([each.table[:, 2:] for each in sums])
    counts = (table[..., 0] / np.maximum(table[..., 0].sum(1, keepdims=True), 1)).mean(0)
    rest = (table.sum(1, keepdims=True) - table)[:, counts > 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.sqrt(np.prod(rest[..., 1] / rest[..., 0], axis=0))
        error = float(jackknife(np.array([rms]), without[:, None], counts)[0])
        shared = sum(_shared(each) / max(_mean_square(each), 1e-150) ** 2 for each in sums)
    return None if math.isinf(error) else math.hypot(error, 0.5 * rms * math.sqrt(shared))
