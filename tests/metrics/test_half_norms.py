"""Norms in half precision: against the arithmetic of float16 and bfloat16 themselves, and against float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.metrics.groups import largest_sum, measure_groups, overflowing
from normdiag.metrics.half_norms import (
    GROUPS,
    chosen_rows,
    in_half,
    measure_in_half,
    normalized,
    relative_error,
)
from normdiag.records import GroupSums, NormLayer
from normdiag.records.precision import Form, Half, NormRows

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def rows(groups: int = 6, n: int = 37, scale: float = 1.0, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(groups, n)) * scale + mean).astype(np.float32)


def by_scalars(row: np.ndarray, kind: str, eps: float, target: Half, *, tree: bool) -> list[float]:
    """One group in the format's own scalar arithmetic, step by step."""
    dtype = DTYPES[target]
    x = [dtype(value) for value in row]
    count = dtype(len(row))

    def total(values: list) -> object:
        if not tree:
            running = dtype(0)
            for value in values:
                running = dtype(running + value)
            return running
        while len(values) > 1:
            values = [*values, dtype(0)] if len(values) % 2 else values
            values = [dtype(a + b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    with np.errstate(all="ignore"):
        if kind != "rms_norm":
            mean = dtype(total(x) / count)
            x = [dtype(value - mean) for value in x]
        variance = dtype(total([dtype(value * value) for value in x]) / count)
        scale = dtype(np.sqrt(dtype(variance + dtype(eps))))
        return [float(dtype(value / scale)) for value in x]


@pytest.mark.parametrize("target", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("form", ["sequential", "pairwise"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_to_the_last_bit_as_the_formats_own_arithmetic(kind: str, target: Half, form: Form, scale: float) -> None:
    x = rows(scale=scale, mean=scale / 3)
    made = in_half(x, kind, 1e-6, form, target)
    for row, got in zip(x, made, strict=True):
        np.testing.assert_array_equal(got, by_scalars(row, kind, 1e-6, target, tree=form == "pairwise"))


@given(st.integers(1, 60), st.floats(-12, 12), st.integers(0, 99))
def test_any_scale_and_length(n: int, octave: float, seed: int) -> None:
    x = rows(2, n, 2.0**octave, seed=seed)
    for tree, form in ((True, "pairwise"), (False, "sequential")):
        made = in_half(x, "layer_norm", 1e-5, form, "fp16")
        wanted = [by_scalars(row, "layer_norm", 1e-5, "fp16", tree=tree) for row in x]
        np.testing.assert_array_equal(made, np.asarray(wanted))


def test_sums_overflow_long_before_a_square_does() -> None:
    """N = 4096 and RMS 5, no value above 25: the squares fit, their sum is 102,400."""
    x = rows(8, 4096, 5.0)
    assert np.abs(x).max() < 25
    exact = normalized(x, "rms_norm", 1e-6)
    errors = {form: relative_error(exact, in_half(x, "rms_norm", 1e-6, form, "fp16")) for form in FORMS_SUMMED}
    assert errors["pairwise"] == 1.0  # an infinite mean square: everything is zero
    assert errors["sequential"] > 0.3  # the running sum stands still long before it could overflow
    assert errors["float32_sums"] < 1e-3 and errors["float32"] < 3e-4 and errors["rescaled"] < 2e-3


FORMS_SUMMED: tuple[Form, ...] = ("sequential", "pairwise", "float32_sums", "float32", "rescaled")


def test_squares_overflow_where_sums_in_float32_do_not_help() -> None:
    x = rows(4, 64, 1.0)
    x[:, 0] = 300.0
    exact = normalized(x, "rms_norm", 1e-6)
    assert relative_error(exact, in_half(x, "rms_norm", 1e-6, "float32_sums", "fp16")) == 1.0
    assert relative_error(exact, in_half(x, "rms_norm", 1e-6, "float32", "fp16")) < 1e-3
    assert relative_error(exact, in_half(x, "rms_norm", 1e-6, "rescaled", "fp16")) < 2e-3


def test_bfloat16_overflows_nowhere_and_stands_still_when_it_adds_one_by_one() -> None:
    x = np.ones((1, 4096), np.float32)
    exact = normalized(x, "rms_norm", 0.0)
    assert relative_error(exact, in_half(x, "rms_norm", 0.0, "sequential", "bf16")) == pytest.approx(
        3.0
    )  # 256, not 4096
    assert relative_error(exact, in_half(x, "rms_norm", 0.0, "pairwise", "bf16")) == 0.0
    assert np.isfinite(in_half(x * 1e4, "rms_norm", 0.0, "pairwise", "bf16")).all()


def test_an_input_beyond_the_format_is_an_infinite_error_in_every_form() -> None:
    x = rows(2, 16, 1.0)
    x[0, 0] = 1e5
    exact = normalized(x, "layer_norm", 1e-5)
    for form in FORMS_SUMMED:
        assert relative_error(exact, in_half(x, "layer_norm", 1e-5, form, "fp16")) == float("inf")


def test_an_eps_that_rounds_to_zero_divides_zero_by_zero() -> None:
    held = NormRows("layer_norm", np.concatenate([rows(3, 8), np.full((1, 8), 2.0, np.float32)]), 1e-8)
    found = measure_in_half(NormLayer("ln", "layer_norm", "module", eps=1e-8), None, held, "fp16")
    assert found.eps == 0.0 and found.errors["pairwise"] == float("inf")
    assert found.eps_error == float("inf")
    assert measure_in_half(NormLayer("ln", "layer_norm", "module"), None, held, "bf16").errors["pairwise"] < 0.02


def test_what_rounding_eps_alone_does_is_that_of_float64() -> None:
    x = rows(4, 32, 1e-4)
    found = measure_in_half(NormLayer("n", "rms_norm", "module"), None, NormRows("rms_norm", x, 5e-8), "fp16")
    kept = float(np.float16(5e-8))
    exact = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + 5e-8)
    other = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + kept)
    assert found.eps == kept != 5e-8
    assert found.eps_error == pytest.approx(np.linalg.norm(other - exact) / np.linalg.norm(exact), rel=1e-9)


def test_the_share_of_groups_whose_sum_overflows_is_that_of_all_data() -> None:
    variances = np.array([1.0, 2.0, 30.0, 1e4])
    sums = GroupSums.of(variances, np.ones(4096), group_size=4096, channel_count=4, abs_max=25.0)
    assert overflowing(sums) == 0.5
    assert largest_sum(sums) == pytest.approx(4096 * 1e4, rel=0.045) and largest_sum(sums) <= 4096 * 1e4


def test_the_groups_that_are_simulated_hold_the_extremes() -> None:
    x = rows(1000, 8) * np.linspace(0.1, 3, 1000, dtype=np.float32)[:, None]
    chosen, squares = chosen_rows(x), (x.astype(np.float64) ** 2).sum(1)
    assert len(chosen) == GROUPS
    got = (chosen.astype(np.float64) ** 2).sum(1)
    assert got.max() == squares.max() and got.min() == squares.min()


def test_nothing_held_leaves_what_the_sums_say() -> None:
    sums = GroupSums.of(np.array([30.0]), np.ones(4096), group_size=4096, channel_count=1, abs_max=21.0)
    found = measure_in_half(NormLayer("n", "rms_norm", "module"), measure_groups(sums), None, "fp16")
    assert (found.groups, found.overflowing, dict(found.errors)) == (0, 1.0, {})
    wide = measure_in_half(NormLayer("n", "rms_norm", "module"), measure_groups(sums), None, "bf16")
    assert wide.overflowing == 0.0
