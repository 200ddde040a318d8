"""Saturation, dead units and the gradient that activations let through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from normdiag.records import ActivationMetrics, ActivationSums, GradientProduct


def measure_activations(sums: Mapping[str, ActivationSums]) -> tuple[ActivationMetrics, ...]:
    """One row per activation, in the order given."""
    return tuple(_measure(name, each) for name, each in sums.items())


def gradient_product(activations: Sequence[ActivationMetrics]) -> GradientProduct | None:
    """The product of the mean squared derivatives over the depth, as if the activations formed one chain.

    The expected squared gradient of a chain of n activations scales with prod E[f'(x_i)^2] (Glorot & Bengio 2010,
    section 4.2.1, with unit-gain weights); its root is to be read beside 0.25^n, the most n sigmoids can pass.
    """
    if not activations:
        return None
    product = math.prod(each.mean_squared_derivative for each in activations)
    depth = len(activations)
    return GradientProduct(depth, product, math.sqrt(product), 0.25**depth)


def _measure(name: str, sums: ActivationSums) -> ActivationMetrics:
    units = len(sums.saturated)
    values = max(units * sums.elements, 1)
    look = sums.sampled
    return ActivationMetrics(
        name=name,
        kind=sums.kind,
        saturated_fraction=float(sums.saturated.sum()) / values,
        mean_squared_derivative=sums.derivative_square / values,
        units=units,
        dead_units=int(np.count_nonzero(sums.dead)) if sums.elements else 0,
        final=sums.final,
        sampled_share=1.0 if look is None else look.values / max(look.of, 1),
        saturated_se=0.0 if look is None else math.sqrt(look.saturated_variance) / values,
        mean_squared_derivative_se=0.0 if look is None else math.sqrt(look.square_variance) / values,
    )
