"""What the data says of stored statistics."""

from __future__ import annotations

import numpy as np

from normdiag.records import LayerMetrics


def contradicted(metrics: LayerMetrics, limit: float) -> bool | None:
    """Whether the data says that a layer's statistics are wrong (True) or right (False); None where it does not say.

    `limit` is a drift: wrong where the 2-sigma interval lies above it, right where it lies below.
    """
    drift = metrics.own or metrics.drift
    if drift is None or not np.isfinite(drift.rms):
        return None
    if drift.lower > limit:
        return True
    return False if drift.corrected + 2.0 * drift.se < limit else None
