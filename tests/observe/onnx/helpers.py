"""What the tests of the ONNX runner share: running a file, and moments in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from normdiag.graph import open_model
from normdiag.observe.onnx import OnnxRunner

NEWEST = 23  # onnxruntime's newest released operator set when this was written


def runner(path: Path, **options: float) -> OnnxRunner:
    return OnnxRunner(open_model(path), **options)


def moments(x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per sample and channel the means of (x - mean) and (x - mean)^2 in float64."""
    shifted = x.astype(np.float64) - mean.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))
    flat = shifted.reshape(*x.shape[:2], -1)
    return flat.mean(2), (flat**2).mean(2)
