"""What is odd about gamma and beta beside those of the other layers."""

from __future__ import annotations

import time

import numpy as np

from normdiag.metrics.affine import oddities
from normdiag.records import NormLayer


def test_thousands_of_layers_take_no_longer_each_than_few() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(1, 0.2, 8), rng.normal(0, 0.2, 8)) for _ in range(4000)]
    layers = [NormLayer(f"l{i}", "batch_norm", "module", 8, gamma=g, beta=b) for i, (g, b) in enumerate(pairs)]
    started = time.process_time()
    assert oddities(layers) == {}
    assert time.process_time() - started < 10


def test_layers_whose_gamma_is_zero_throughout() -> None:
    """As before the first step, where residual branches begin at zero."""
    zero = [NormLayer(f"z{i}", "batch_norm", "module", 8, gamma=np.zeros(8), beta=np.ones(8)) for i in range(3)]
    layer = NormLayer("l", "batch_norm", "module", 8, gamma=np.ones(8), beta=np.zeros(8))
    oddities([*zero, layer])
