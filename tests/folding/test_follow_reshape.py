"""Reshapes: which channels can be followed, against reshaping changed data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normdiag.folding.follow import downstream, upstream
from normdiag.folding.obstacle import Obstacle
from normdiag.records import Affine, Op, OpGraph, Reshape, Size
from tests.folding.following import N, channelwise, check_down, check_up, refused
from tests.nets.op_graph import GraphNet


def test_flatten_spreads_channels_over_positions_and_gathers_them_again() -> None:
    net = GraphNet(4, 2, 3)
    net.flatten(net.x)
    spread = check_down(net, {0: channelwise((2, 4, 2, 3))})
    assert spread[0].scale.shape == (1, 24)
    assert check_up(net, spread)[0].scale.shape == (1, 4, 1, 1)
    assert check_up(net, {0: channelwise((2, 24))})[0].scale.shape == (1, 4, 2, 3)


def test_flatten_of_free_positions_passes_only_what_does_not_vary() -> None:
    net = GraphNet(4, 2, 3, dynamic=True)
    net.flatten(net.x)
    refused(net, {0: channelwise((2, 4, 2, 3))}, "cannot be followed through Reshape", down=True)
    uniform = Affine(np.full((1, 1, 1, 1), 2.0), np.full((1, 1, 1, 1), 3.0))
    assert check_down(net, {0: uniform})[0].scale.shape == (1, 1)


def test_free_dimensions_meet_from_behind() -> None:
    """(n, c, h, w) to (-1, c, h * w): what is known of the first is nothing."""
    net = GraphNet(4, 2, 3)
    net.reshape(net.x, (4, 6), (Size(1, ("unknown",)), Size(4), Size(6)))
    assert check_up(net, {0: channelwise((2, 4, 6))})[0].scale.shape == (1, 4, 1, 1)


def test_reshape_that_mixes_the_batch_in_is_refused() -> None:
    net = GraphNet(4, 6)
    net.reshape(net.x, (24,))
    net.sizes[net.ops[-1].outputs[0]] = (Size(4, ("n",)), Size(6))
    net.shapes[net.ops[-1].outputs[0]] = (8, 6)
    refused(net, {0: channelwise((2, 4, 6))}, "cannot be followed through Reshape", down=True)
    assert check_down(net, {0: channelwise((2, 4, 6), 2)})[0].scale.shape == (1, 6)


@pytest.mark.parametrize("missing", ["reshape0_out", "x"])
def test_reshape_of_unknown_sizes_is_refused(missing: str) -> None:
    net = GraphNet(4, 6)
    net.reshape(net.x, (4, 2, 3))
    del net.sizes[missing]
    refused(net, {0: channelwise((2, 4, 2, 3))}, "its sizes are unknown")


@pytest.mark.parametrize(
    ("old", "new"), [((3, 4), (6, 4)), ((0, 4), (4, 0)), ((2, 2, 3), (3, 4)), ((6, 2, 6), (2, 3, 2))]
)
def test_reshape_between_sizes_that_do_not_agree_never_raises(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    op = Op("r", "reshape", "Reshape", ("a",), ("b",), Reshape())
    graph = OpGraph((op,), ("a",), ("b",), {"a": tuple(map(Size, old)), "b": tuple(map(Size, new))})
    wanted = Affine(np.random.default_rng(0).normal(size=new), np.zeros([1] * len(new)))
    found = upstream(op, {0: wanted}, graph)
    assert isinstance(found, Obstacle) or found[0].scale.size <= np.prod(old)


def test_a_tensor_without_elements_is_refused() -> None:
    net = GraphNet(0, 4)
    net.reshape(net.x, (0, 2, 2))
    refused(net, {0: channelwise((2, 0, 2, 2), 3)}, "has no elements")


def test_what_would_take_gigabytes_is_refused() -> None:
    op = Op("r", "reshape", "Reshape", ("a",), ("b",), Reshape())
    sizes = {"a": (N, Size(10**4), Size(10**6)), "b": (N, Size(10**10))}
    wanted = channelwise((1, 10**4, 1))
    assert isinstance(downstream(op, {0: wanted}, OpGraph((op,), ("a",), ("b",), sizes)), Obstacle)


splits = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4)


@settings(max_examples=200)
@given(splits, st.randoms(use_true_random=False), st.integers(0, 99))
def test_reshapes_between_any_factors(factors: list[int], random: object, seed: int) -> None:
    """Either side groups the same factors; the map varies along any of the axes."""
    chosen = np.random.default_rng(seed)

    def grouped() -> tuple[int, ...]:
        cuts = sorted(set(chosen.integers(0, len(factors) + 1, 2).tolist()) | {0, len(factors)})
        return tuple(int(np.prod(factors[i:j])) for i, j in pairwise(cuts))

    net = GraphNet(*grouped(), seed=seed)
    net.reshape(net.x, grouped())
    for name, check in (("x", check_down), (net.ops[-1].outputs[0], check_up)):
        shape = net.shapes[name]
        size = [1, *(each if chosen.random() < 0.5 else 1 for each in shape[1:])]
        check(net, {0: Affine(chosen.normal(size=size), chosen.normal(size=[1] * len(size)))})
