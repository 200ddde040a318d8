"""Layers of two models paired by name, end of name, values, and order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from normdiag.comparison.contents import contents_of_tensors
from normdiag.matching.layers import pair_layers
from normdiag.records.contents import LayerContents


def layers(**tensors: np.ndarray) -> tuple[LayerContents, ...]:
    return contents_of_tensors({name.replace("__", "."): value for name, value in tensors.items()}, ())


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape or (4, 3)).astype(np.float32)


def named(a: tuple[LayerContents, ...], b: tuple[LayerContents, ...]) -> list[tuple[str, str, str]]:
    return [(a[pair.a].name, b[pair.b].name, pair.by) for pair in pair_layers(a, b).pairs]


def test_a_name_decides_whatever_the_shape_and_the_order() -> None:
    a = layers(one__weight=weights(0), two__weight=weights(1))
    b = layers(two__weight=weights(2), one__weight=weights(3, 8, 3))
    assert named(a, b) == [("one", "one", "name"), ("two", "two", "name")]


def test_a_prefix_of_all_names_is_no_obstacle() -> None:
    a = layers(backbone__one__weight=weights(0), backbone__two__weight=weights(1))
    b = layers(one__weight=weights(2), two__weight=weights(3))
    assert {by for *_, by in named(a, b)} == {"end of name"}


def test_equal_weights_find_each_other_under_any_name_and_in_half_precision() -> None:
    a = layers(a__weight=weights(0), b__weight=weights(1), c__weight=weights(2))
    b = layers(x__weight=weights(2).astype(np.float16), y__weight=weights(0), z__weight=weights(1))
    assert named(a, b) == [("a", "y", "values"), ("b", "z", "values"), ("c", "x", "values")]


def test_what_is_left_goes_by_order_and_shape() -> None:
    a = layers(a__weight=weights(0), b__weight=weights(1, 5, 4), c__weight=weights(2, 7, 5))
    b = layers(x__weight=weights(3), y__weight=weights(4, 7, 5))
    assert named(a, b) == [("a", "x", "order"), ("c", "y", "order")]
    found = pair_layers(a, b)
    assert (found.only_a, found.only_b) == ((1,), ())


def test_weights_that_stand_twice_go_in_order() -> None:
    a = layers(a__weight=weights(0), b__weight=weights(0))
    b = layers(x__weight=weights(0), y__weight=weights(0))
    assert named(a, b) == [("a", "x", "values"), ("b", "y", "values")]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.integers(2, 4)), max_size=6), st.randoms())
def test_no_layer_is_in_two_pairs_and_none_is_lost(made: list[tuple[str, int, int]], random: object) -> None:
    tensors = {f"{name}{i}.weight": weights(seed, size, 3) for i, (name, seed, size) in enumerate(made)}
    other = dict(reversed(list(tensors.items())[: max(1, len(made) // 2)]))
    a, b = contents_of_tensors(tensors, ()), contents_of_tensors(other, ())
    found = pair_layers(a, b)
    assert sorted([*(pair.a for pair in found.pairs), *found.only_a]) == list(range(len(a)))
    assert sorted([*(pair.b for pair in found.pairs), *found.only_b]) == list(range(len(b)))
