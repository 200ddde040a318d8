"""Axes followed through a reshape, against the means that numpy takes on either side."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from normdiag.graph.sizes import across, cut
from normdiag.records import Size

N = Size(1, ("n",))
SHAPES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)


def sizes(*dims: int | Size) -> tuple[Size, ...]:
    return tuple(Size(dim) if isinstance(dim, int) else dim for dim in dims)


def test_positions_flattened_and_groups_taken_apart() -> None:
    image, flat = sizes(N, 8, 5, 6), sizes(N, 8, 30)
    assert across(flat, image, (2,)) == (2, 3) and across(image, flat, (3, 2)) == (2,)
    assert across(image, flat, (2,)) is None, "half of what is flattened"
    groups = sizes(N, 2, 120)
    assert across(groups, image, (2,)) is None, "a group is part of the channels"
    assert across(groups, image, (1, 2)) == (1, 2, 3)


def test_free_sizes_and_sizes_of_one() -> None:
    h, w = Size(1, ("h",)), Size(1, ("w",))
    assert across(sizes(N, 8, Size(1, ("h", "w"))), sizes(N, 8, h, w), (2,)) == (2, 3)
    assert across(sizes(1, N, 256, 1), sizes(N, 256), (0, 2, 3)) == (1,)
    assert across(sizes(N, 8), sizes(Size(1, ("m",)), 8), (0,)) == (0,), "the rest is equal, so this is"
    assert cut(sizes(2, 3), sizes(3, 2)) == ((range(2), range(2)),)


@given(SHAPES, st.randoms(use_true_random=False))
def test_what_it_follows_has_the_same_means(shape: list[int], random: np.random.RandomState) -> None:
    other = list(shape)
    for _ in range(random.randint(0, 3)):  # neighbours put together, or taken apart
        place = random.randrange(len(other))
        if random.random() < 0.5 and place + 1 < len(other):
            other[place : place + 2] = [other[place] * other[place + 1]]
        elif other[place] % 2 == 0:
            other[place : place + 1] = [2, other[place] // 2]
    axes = tuple(axis for axis in range(len(shape)) if random.random() < 0.5)
    found = across(sizes(*shape), sizes(*other), axes)
    if found is not None:
        x = np.random.default_rng(0).normal(size=shape)
        before, after = x.mean(axes).reshape(-1), x.reshape(other).mean(found).reshape(-1)
        np.testing.assert_allclose(before, after, rtol=1e-9, atol=1e-12)
