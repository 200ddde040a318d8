"""Arithmetic of carried maps, against applying them to data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.folding.affine import collapsed, compose, identity, is_identity, length, placed, same, varying, widened
from normdiag.records import Affine

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(*[st.sampled_from([1, size]) for size in (2, 3, 4)])


def affine(seed: int, scale: tuple[int, ...], shift: tuple[int, ...]) -> Affine:
    random = np.random.default_rng(seed)
    return Affine(random.normal(size=scale), random.normal(size=shift))


@given(seeds, shapes, shapes, shapes, shapes)
def test_compose_applies_one_after_the_other(
    seed: int, a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...], d: tuple[int, ...]
) -> None:
    first, then = affine(seed, a, b), affine(seed + 1, c, d)
    x = np.random.default_rng(seed + 2).normal(size=(2, 3, 4))
    both = compose(first, then)
    np.testing.assert_allclose(both.scale * x + both.shift, then.scale * (first.scale * x + first.shift) + then.shift)


@given(seeds, shapes, st.sets(st.integers(0, 2)))
def test_collapsed_keeps_the_values_and_drops_what_does_not_vary(
    seed: int, shape: tuple[int, ...], even: set[int]
) -> None:
    values = np.random.default_rng(seed).normal(size=[1 if axis in even else size for axis, size in enumerate(shape)])
    wide = np.broadcast_to(values, shape)
    small = collapsed(wide)
    assert np.array_equal(np.broadcast_to(small, shape), wide)
    assert small.shape == values.shape


def test_varying_looks_at_both_parts() -> None:
    map_ = affine(0, (1, 3, 1), (1, 1, 4))
    assert varying(map_) == (1, 2)
    assert [length(map_, axis) for axis in range(3)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("scale", "shift", "expected"), [(1, 0, True), (1 + 1e-15, 0, False), (1, 1e-300, False), (0, 0, False)]
)
def test_identity_is_exact(scale: float, shift: float, expected: bool) -> None:
    assert is_identity(Affine(np.full((1, 2), scale), np.full((1, 1), shift))) is expected
    assert same(identity(2), Affine(np.full((1, 1), scale), np.full((1, 1), shift))) is expected


def test_placed_and_widened() -> None:
    assert placed(np.arange(3), -2, 4).shape == (1, 1, 3, 1)
    assert widened(np.ones((1, 3)), 0, 5).shape == (5, 3)
