"""How far two arrays are apart."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from normdiag.folding.compare import difference, mismatch, worst

NAN, INF = math.nan, math.inf


def of(before: list[float], after: list[float], dtype: str = "float32"):
    return difference(np.array(before, dtype), np.array(after, dtype))


def test_is_relative_to_the_largest_value_of_the_original():
    assert of([1, -4], [1, -3]).relative == 0.25


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_takes_half_and_double(dtype):
    assert of([1, -4], [1, -3], dtype).relative == 0.25


def test_bfloat16_is_compared_in_more_digits_than_it_has():
    a = np.array([256, 1], ml_dtypes.bfloat16)
    b = np.array([258, 1], ml_dtypes.bfloat16)
    assert difference(a, b).relative == pytest.approx(2 / 256)


@pytest.mark.parametrize("same", [[NAN, 1], [INF, 1], [-INF, 1], [NAN, INF]])
def test_what_is_not_finite_in_both_is_no_difference(same):
    found = of(same, same)
    assert found.relative == 0 and not found.lost


@pytest.mark.parametrize(("before", "after"), [([1, 2], [NAN, 2]), ([1, 2], [INF, 2]), ([1, 2], [1, -INF])])
def test_what_only_the_folded_model_has_is_infinitely_wrong(before, after):
    assert of(before, after).relative == INF


@pytest.mark.parametrize(("before", "after"), [([NAN, 2], [1, 2]), ([INF, 2], [-INF, 2]), ([INF, 2], [NAN, 2])])
def test_what_only_the_original_has_is_lost(before, after):
    found = of(before, after)
    assert found.lost and found.relative == 0


def test_differences_beside_nan_still_count():
    assert of([NAN, 4, 1], [NAN, 3, 1]).relative == 0.25


def test_another_shape_is_infinitely_wrong():
    assert difference(np.zeros((2, 3)), np.zeros((3, 2))).relative == INF


@pytest.mark.parametrize(("before", "values"), [([NAN, 4, 1], 2), ([0, 0, 0], 3), ([NAN, INF, -INF], 0)])
def test_counts_the_values_that_say_something(before, values):
    found = of(before, before)
    assert (found.values, found.size) == (values, 3)
    joined = worst([found, of([1], [1])])
    assert (joined.values, joined.size) == (values + 1, 4)


def test_all_zero_in_both_is_no_difference_and_in_one_is_one():
    assert of([0, 0], [0, 0]).relative == 0
    assert of([0, 0], [0, 1e-3]).relative > 1


def test_denormal_numbers_have_no_digits_to_differ_in():
    assert of([1e-44], [3e-44]).relative < 1e-5


def test_empty_arrays_are_equal():
    assert difference(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)).relative == 0


def test_the_largest_floats_do_not_overflow_into_equality():
    assert of([3e38, 1], [-3e38, 1]).relative > 1


def test_integers_are_compared_by_the_share_that_differs():
    assert mismatch(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])).relative == 0.25
    assert mismatch(np.array([1, 2]), np.array([1])).relative == INF


def test_the_worst_takes_the_largest_scale():
    joined = worst([of([10], [10]), of([1], [1.5])])
    assert joined.relative == pytest.approx(0.05)
