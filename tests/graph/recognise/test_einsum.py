"""Which einsums are products with one matrix: numpy computes both."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from normdiag.graph.recognise.einsum import einsum_axes
from normdiag.records import Size

SIZES = {"b": 2, "c": 3, "h": 5, "w": 4, "d": 6}


@pytest.mark.parametrize(
    "equation",
    ["bchw,cd->bdhw", "cd,bchw->bwhd", "bhwc,dc->dbhw", "bchw , dc -> bdwh", "...c,cd->...d", "c...,cd->...d", "bc,cd"],
)
def test_it_computes_what_the_product_does(equation: str) -> None:
    first, second = equation.replace(" ", "").partition("->")[0].split(",")
    matrix_first = set(first) == {"c", "d"}
    shapes = [
        tuple(SIZES[letter] for letter in term.replace("...", "bh" if "..." in term else ""))
        for term in (first, second)
    ]
    random = np.random.default_rng(0)
    operands = [random.normal(size=shape) for shape in shapes]
    place = 0 if matrix_first else 1
    matrix, data = operands[place], operands[1 - place]
    axes = einsum_axes(equation, place, [Size(size) for size in data.shape], matrix.shape)
    assert axes is not None
    out_axis, in_axis, channel_axis, data_axis = astuple(axes)
    upright = np.moveaxis(matrix, (in_axis, out_axis), (0, 1))
    product = np.moveaxis(data, data_axis, -1) @ upright
    expected = np.einsum(equation, *operands)
    # The other axes may stand in any order: the channels must lie where it says, with the values of the product.
    found = np.sort(np.moveaxis(expected, channel_axis, 0).reshape(SIZES["d"], -1), axis=1)
    np.testing.assert_allclose(found, np.sort(np.moveaxis(product, -1, 0).reshape(SIZES["d"], -1), axis=1), 1e-12)


@pytest.mark.parametrize(
    "equation",
    [
        "bchw,cd->bhw",  # sums over what it makes
        "bchw,cd->bcdhw",  # an outer product
        "bchw,cd->bdh",  # sums over positions
        "bccw,cd->bdw",  # a diagonal
        "bchw,cc->bchw",
        "bchw,hd->bchwd",
        "bchw,cd,c->bdhw",
        "bchw->bhwc",
        "bch,cd->bdh",  # not the rank of the data
    ],
)
def test_what_is_no_such_product(equation: str) -> None:
    assert einsum_axes(equation, 1, [Size(2), Size(3), Size(5), Size(4)], (3, 6)) is None


def test_sizes_must_be_known_and_equal() -> None:
    for size in (Size(1), Size(4), Size(1, ("n",))):
        assert einsum_axes("bc,cd->bd", 1, [Size(2), size], (3, 6)) is None
