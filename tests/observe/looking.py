"""What is known of sums that come from a share of the values."""

from __future__ import annotations

from normdiag.metrics import measure_activations
from normdiag.records import ActivationSums


def errors(sums: ActivationSums) -> tuple[float, float]:
    """Standard errors of the number of saturated values and of the sum of squared derivatives."""
    (row,) = measure_activations({"x": sums})
    assert row.saturated_se is not None and row.mean_squared_derivative_se is not None
    values = sums.elements * len(sums.saturated)
    return row.saturated_se * values, row.mean_squared_derivative_se * values
