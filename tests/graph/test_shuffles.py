"""Moves between channels and positions, against what torch's functions do to real values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from normdiag.graph.dtypes import keeps
from normdiag.graph.shuffles import Moved, channel_shuffle, depth_to_space, space_to_depth
from normdiag.graph.sizes import product
from normdiag.records import Size

torch = pytest.importorskip("torch")


def moved(x: np.ndarray, how: Moved | None, shape: tuple[int, ...]) -> np.ndarray:
    assert how is not None
    inner, perm = how
    known = [size.known for size in inner]
    assert None not in known
    return x.reshape([size or 0 for size in known]).transpose(perm).reshape(shape)


def sizes(*shape: int) -> tuple[Size, ...]:
    return tuple(map(Size, shape))


@pytest.mark.parametrize(
    ("shape", "how", "function"),
    [
        ((2, 12, 3, 5), lambda s: depth_to_space(s, 2, block_first=False), lambda x: torch.pixel_shuffle(x, 2)),
        ((2, 3, 4, 6), lambda s: space_to_depth(s, 2, "y", block_first=False), lambda x: torch.pixel_unshuffle(x, 2)),
        ((2, 6, 4, 5), lambda s: channel_shuffle(s, 3), lambda x: torch.channel_shuffle(x, 3)),
    ],
)
def test_as_torch_does_it(
    shape: tuple[int, ...], how: Callable[..., Moved | None], function: Callable[..., object]
) -> None:
    x = torch.arange(math.prod(shape)).reshape(shape)
    expected = function(x).numpy()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(moved(x.numpy(), how(sizes(*shape)), expected.shape), expected)


def test_depth_to_space_undoes_space_to_depth_in_both_orders() -> None:
    x = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    for first in (True, False):
        deep = moved(x, space_to_depth(sizes(2, 3, 4, 6), 2, "y", block_first=first), (2, 12, 2, 3))
        back = moved(deep, depth_to_space(sizes(2, 12, 2, 3), 2, block_first=first), x.shape)
        np.testing.assert_array_equal(back, x)


def test_free_dimensions() -> None:
    free = Size(1, ("N",))
    assert depth_to_space((free, Size(1, ("C",)), free, free), 2, block_first=True) is None
    inner, _ = space_to_depth((free, Size(3), Size(1, ("H",)), Size(4, ("W",))), 2, "y", block_first=True)
    assert inner == (free, Size(3), Size(1, ("y/h",)), Size(2), Size(2, ("W",)), Size(2))
    assert product(inner[-2:]) == Size(4, ("W",))


def test_casts_that_change_nothing() -> None:
    assert keeps("float16", "float32") and keeps("int8", "int8")
    assert not keeps("float32", "bfloat16") and not keeps("bfloat16", "float16") and not keeps("int8", "float32")
