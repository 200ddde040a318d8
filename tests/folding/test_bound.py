"""What rounding can explain."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.folding.bound import ESTIMATED, MEASURED, ROUNDOFF, accepted, coarsest, depth, fan_in, most
from normdiag.records import Add, Concat, Conv, FoldPlan, Linear, Op, Opaque, OpGraph, Parameter
from tests.folding.fake_models import random_model

U = 2.0**-24


def parameter(*shape, dtype="float32"):
    return Parameter("w", shape, dtype, lambda: np.zeros(shape))


def layer(name, before, after, detail=None):
    return Op(name, "linear", "Linear", (before,), (after,), detail or Linear(parameter(16, 16)))


def test_layers_add_in_quadrature():
    chain = OpGraph(tuple(layer(f"l{i}", f"t{i}", f"t{i + 1}") for i in range(9)), ("t0",), ("t9",))
    found = depth(chain, FoldPlan())
    assert found.layers == 9
    assert found.of("t1") == pytest.approx(U * math.sqrt(17))
    assert found.of("t9") == pytest.approx(3 * found.of("t1"))
    assert found.of("unknown") == found.largest == found.of("t9")


def test_the_longest_branch_counts():
    graph = OpGraph(
        (
            layer("a", "x", "p"),
            layer("b", "p", "q"),
            Op("sum", "add", "Add", ("x", "q"), ("y",), Add((1, 1))),
            Op("cat", "concat", "Concat", ("x", "y"), ("z",), Concat(1)),
        ),
        ("x",),
        ("z",),
    )
    found = depth(graph, FoldPlan())
    assert found.layers == 2
    assert found.of("z") == found.of("y") == pytest.approx(U * math.sqrt(2 * 17 + 2))


@pytest.mark.parametrize(
    ("detail", "products"),
    [
        (Conv(parameter(8, 4, 3, 3)), 36),
        (Conv(parameter(8, 1, 3, 3), groups=8), 9),
        (Conv(parameter(6, 4, 5), groups=2, transposed=True), 15),
        (Linear(parameter(7, 5)), 7),
        (Linear(parameter(7, 5), out_axis=-2, in_axis=-1), 5),
        (Opaque("a nonlinearity"), 1),
    ],
)
def test_products_are_counted_from_the_weight(detail, products):
    assert fan_in(layer("l", "x", "y", detail)) == products


def test_half_precision_sums_in_float32():
    graph = OpGraph((layer("l", "x", "y", Linear(parameter(4096, 16, dtype="float16"))),), ("x",), ("y",))
    found = depth(graph, FoldPlan())
    assert found.dtype == "float16"
    assert found.of("y") == pytest.approx(2.0**-11, rel=0.01)


def test_the_coarsest_dtype_counts():
    graph = OpGraph((layer("l", "x", "y"),), ("x",), ("y",), dtypes={"x": "bfloat16", "y": "float16", "z": "int64"})
    assert coarsest(graph) == "bfloat16"
    assert coarsest(OpGraph((), (), ())) == "float32"


def test_cancellation_raises_the_error_of_its_layer_and_those_behind():
    net = random_model(0, 3)
    plain, grown = (depth(net.graph, net.plan, c) for c in ({}, {"bn1": 100.0}))
    assert grown.of("y0") == plain.of("y0")
    assert grown.of("y1") > 20 * plain.of("y1")
    assert grown.of("y2") > 20 * plain.of("y2")
    assert depth(net.graph, net.plan, {"bn1": 0.01}) == plain


@given(
    st.sampled_from([ROUNDOFF[name] for name in ("float64", "float32", "float16", "bfloat16")]),
    st.floats(1, 1e4),
    st.one_of(st.none(), st.floats(0, 10), st.just(math.inf)),
    st.floats(0, 10),
)
def test_no_bound_is_above_half_of_the_digits_or_below_the_estimate(roundoff, factor, own, response):
    bound = accepted(factor * roundoff, roundoff, own=own, response=response)
    assert roundoff < bound <= most(roundoff)
    assert bound >= min(most(roundoff), ESTIMATED * factor * roundoff)
    if own is not None:
        assert bound >= min(most(roundoff), MEASURED * own)
    assert bound <= accepted(2 * factor * roundoff, roundoff, own=own, response=response)


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({"own": 1e-6}, 16e-6),
        ({"own": 1e-6, "response": 2e-6}, 32e-6),
        ({"own": 1e-6, "estimate": 5e-6}, 20e-6),
        ({"estimate": 1e-6}, 16e-6),
        ({"estimate": 1e-6, "response": 1e-6}, 32e-6),
    ],
)
def test_the_bound_is_the_one_that_was_tried(given, bound):
    """In numbers, as docs/folding.md has them with the experiments that they come from."""
    estimate = given.pop("estimate", 1e-9)
    assert accepted(estimate, U, **given) == pytest.approx(bound, rel=1e-12)


def test_the_limit_in_numbers():
    assert most(ROUNDOFF["float32"]) == pytest.approx(1e-3, rel=0.03)
    assert most(ROUNDOFF["float16"]) < 0.09


def test_without_layers_there_is_still_one_rounding():
    found = depth(replace(random_model(0, 1).graph, ops=()), FoldPlan())
    assert found.layers == 0 and found.of("x") == U
