"""What stands out of a norm's input, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.metrics.outliers import LARGEST_ODD, massive, measure_outliers, rotated, stand_out
from normdiag.records.precision import NormRows


def gaussian(groups: int = 40, n: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(groups, n))


@given(st.integers(1, 96), st.integers(0, 9))
def test_a_rotation_keeps_every_product_of_rows(n: int, seed: int) -> None:
    x = gaussian(5, n, seed)
    y = rotated(x, seed)
    assert y is not None
    np.testing.assert_allclose(y @ y.T, x @ x.T, rtol=1e-9, atol=1e-9)


def test_on_a_power_of_two_it_is_hadamard_after_signs() -> None:
    signs = np.random.default_rng(3).choice([-1.0, 1.0], 16)
    x = gaussian(4, 16)
    hadamard = np.ones((1, 1))
    for _ in range(4):
        hadamard = np.kron(np.array([[1, 1], [1, -1]]), hadamard)
    np.testing.assert_allclose(rotated(x, 3), (x * signs) @ hadamard.T / 4.0, rtol=1e-12)


def test_a_number_of_features_with_a_large_odd_part_is_left_out() -> None:
    odd = LARGEST_ODD + 1
    assert rotated(np.ones((2, odd))) is None
    assert measure_outliers("n", NormRows("rms_norm", np.ones((2, odd)), 0.0)).rotated_crest is None


def test_crest_and_kurtosis_are_those_of_each_row() -> None:
    x = gaussian(7, 33)
    x[3] = 0.0
    kept = [row for row in x if row.any()]
    crests = [max(abs(row)) / np.sqrt(sum(row**2) / 33) for row in kept]
    kurtoses = [(sum(row**4) / 33) / (sum(row**2) / 33) ** 2 for row in kept]
    assert stand_out(x) == pytest.approx((np.mean(crests), np.mean(kurtoses)))
    assert stand_out(np.zeros((2, 3))) == (0.0, 0.0)


def test_one_outlier_channel_goes_in_a_rotation_and_is_named() -> None:
    x = gaussian(200, 256)
    x[:, 17] *= 40
    found = measure_outliers("n", NormRows("rms_norm", x, 1e-6))
    assert found.features == (17,) and found.groups == 200
    assert found.crest > 10 and found.kurtosis > 50
    assert found.rotated_crest is not None and found.rotated_kurtosis is not None
    assert found.rotated_crest < 0.5 * found.crest and found.rotated_kurtosis < 3.5


def test_a_layer_norm_is_seen_without_its_mean() -> None:
    x = gaussian(50, 64) + 100.0
    found = measure_outliers("n", NormRows("layer_norm", x, 1e-6))
    assert found.crest == pytest.approx(measure_outliers("n", NormRows("layer_norm", x - 100.0, 1e-6)).crest)
    assert measure_outliers("n", NormRows("rms_norm", x, 1e-6)).crest < 1.1 and found.features == ()


def test_massive_activations_are_named_by_feature_and_token() -> None:
    x, tokens = gaussian(20, 32) * 0.2, np.tile(np.arange(5), 4)
    x[tokens == 0, 7] = -400.0
    x[3, 9], x[4, 7] = 900.0, -450.0
    one, two = massive(x, tokens)
    assert (one.feature, one.values, one.largest, one.tokens) == (9, 1, 900.0, (3,))
    assert (two.feature, two.values, two.largest, two.tokens) == (7, 5, -450.0, (0, 4))
    assert one.ratio == pytest.approx(900.0 / np.median(np.abs(x)))
    assert massive(x, None)[0].tokens == ()


@pytest.mark.parametrize(("value", "scale", "fires"), [(99.0, 0.01, False), (101.0, 0.01, True), (101.0, 1.0, False)])
def test_both_the_size_and_the_ratio_count(value: float, scale: float, fires: bool) -> None:
    x = gaussian(20, 32) * scale
    x[0, 0] = value
    assert bool(massive(x, None)) == fires
    assert massive(np.zeros((3, 4)), None) == ()
