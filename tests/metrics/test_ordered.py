"""Order statistics are those of numpy, without what numpy imports for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.metrics.ordered import median, quantile

VALUES = st.lists(st.floats(0, 1e30) | st.sampled_from([0.1, 0.5, 0.7]), min_size=1, max_size=80).map(np.array)


@given(VALUES, st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_the_quantile(values: np.ndarray, share: float) -> None:
    assert quantile(values, share) == np.quantile(values, share, method="higher")


@given(VALUES)
def test_the_median(values: np.ndarray) -> None:
    assert median(values) == pytest.approx(np.median(values), rel=1e-15)


@pytest.mark.parametrize("name", ["digits_cnn.onnx", "digits_transformer_layer.onnx"])
def test_a_static_check_does_not_import_masked_arrays(samples: Path, name: str) -> None:
    code = f"import sys, normdiag; normdiag.inspect({str(samples / name)!r}); sys.exit('numpy.ma' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
