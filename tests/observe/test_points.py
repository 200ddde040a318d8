"""Sums of plain arrays: inputs and outputs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from normdiag.observe.points import array_points, array_sums, feature_axis, input_points, table_sums
from normdiag.records import Batch, Point, Span


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((9, 20), 1), ((9, 50, 64), 2), ((9, 1, 2048), 1), ((9, 3, 32, 32), 1), ((9, 32, 32, 3), 3), ((9, 8, 4, 4, 4), 1)],
)
def test_where_channels_lie(shape: tuple[int, ...], axis: int) -> None:
    assert feature_axis(shape) == axis


def test_an_array_equals_its_moments() -> None:
    x = np.random.default_rng(0).normal(1000, 1, (7, 3, 4, 5)).astype(np.float32)
    found = array_sums(x, Span(3, 7))
    means = x.astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(found.shift, means.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.first[0].sum(0), 0, atol=1e-8)
    variance = found.first[1].sum(0) / 7
    np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 2, 3)), rtol=1e-6)
    assert found.counts[3] == 1 and found.counts.sum() == 7


def test_a_vector_and_an_image_of_bytes_are_values_and_ids_are_not() -> None:
    arrays = {
        "loss": np.ones(4, np.float32),
        "pixels": np.ones((4, 8, 8, 3), np.uint8),
        "half": np.ones((4, 2), ml_dtypes.bfloat16),
        "ids": np.ones((4, 16), np.int64),
        "none": np.ones((0, 3), np.float32),
    }
    found = array_points("output", arrays, Span(0, 4))
    assert {point.name: sums.channels for point, sums in found.items()} == {"loss": 1, "pixels": 3, "half": 2}


def test_inputs_without_names_are_numbered() -> None:
    batch = Batch((np.ones((2, 3), np.float32), np.ones((2, 5), np.float32)))
    assert list(input_points(batch)) == [Point("input", "input"), Point("input", "input_1")]


def test_a_batch_that_is_not_finite_does_not_spoil_the_shift() -> None:
    x = np.array([[1.0, np.nan], [3.0, 1.0]])
    found = table_sums(x, x**2, 1, np.zeros(2), Span(0, 2))
    np.testing.assert_array_equal(found.shift, [2.0, 0.0])
    assert np.isnan(found.first[0].sum(0)[1]) and found.first[0].sum(0)[0] == 0
