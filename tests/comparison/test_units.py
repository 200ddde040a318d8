"""Differences in units in the last place and as shares, against numpy's own spacing."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.comparison.units import change, coarser, ulp


@given(st.floats(1e-30, 1e30))
def test_a_unit_in_the_last_place_is_numpys_spacing(x: float) -> None:
    value = np.float32(x)
    assert ulp(np.array([float(value)]), "float32")[0] == np.spacing(value)


@given(st.floats(2.0**-20, 6e4))
def test_of_half_precision_too(x: float) -> None:
    value = np.float16(x)
    assert ulp(np.array([float(value)]), "float16")[0] == np.spacing(value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_converting_is_rounding(dtype: type) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for pair in ((values, values.astype(dtype)), (values.astype(dtype), values)):
        found = change(*pair)
        assert found is not None and found.rounding and found.ulps <= 1
        assert found.dtype == np.dtype(dtype).name


def test_a_change_in_one_value_is_found() -> None:
    a = np.ones(10_000, np.float32)
    b = a.copy()
    b[17] = 1.01
    found = change(a, b)
    assert found is not None and not found.rounding
    assert found.relative == pytest.approx(1e-4, rel=1e-3)
    assert change(a, a.copy()) is None


def test_what_is_not_finite_is_equal_to_itself_alone() -> None:
    a = np.array([1.0, np.nan, np.inf], np.float32)
    assert change(a, a.copy()) is None
    found = change(a, np.array([1.0, 2.0, np.inf], np.float32))
    assert found is not None and not found.rounding and found.relative == np.inf


def test_the_coarser_dtype_counts() -> None:
    assert coarser("float32", "bfloat16") == "bfloat16" == coarser("bfloat16", "float16")
