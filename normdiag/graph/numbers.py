"""Numbers as people wrote them."""

from __future__ import annotations

import numpy as np


def shortest(value: float) -> float:
    """A float32 as the float of its shortest decimal: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
