"""Places of two graphs paired, on graphs made by hand."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.parting import ApartSums, first_parting
from normdiag.comparison.places import absorbed, pair_places, places_of
from normdiag.records import NormLayer, Op, OpGraph
from normdiag.records.opgraph import OpKind
from normdiag.records.ops import Norm, Opaque

RNG = np.random.default_rng(0)


def graph(*ops: tuple[str, OpKind, tuple[str, ...]]) -> OpGraph:
    """Each op writes a tensor of its own name."""
    made = []
    for name, kind, inputs in ops:
        detail = Norm(NormLayer(name, "batch_norm", "module")) if kind == "norm" else Opaque("unknown")
        made.append(Op(name, kind, kind, inputs, (name,), detail))
    return OpGraph(tuple(made), ("x",), (ops[-1][0],))


def values(of: OpGraph, size: int = 12) -> dict[str, np.ndarray]:
    return {op.outputs[0]: RNG.normal(size=(2, size)) for op in of.ops}


def pairs(a: OpGraph, b: OpGraph, values_a: dict, values_b: dict) -> list[tuple[str, str, str]]:
    one, two = places_of(a, values_a), places_of(b, values_b)
    kept = absorbed(one, a, two, values_a, values_b), absorbed(two, b, one, values_b, values_a)
    return [(p.a.op.name, p.b.op.name, p.by) for p in pair_places(*kept, values_a, values_b)]


CHAIN = (("conv", "conv", ("x",)), ("bn", "norm", ("conv",)), ("relu", "activation", ("bn",)))


def test_names_pair() -> None:
    a, b = graph(*CHAIN), graph(*CHAIN)
    assert pairs(a, b, values(a), values(b)) == [(name, name, "name") for name in ("conv", "bn", "relu")]


def test_a_convolution_that_absorbed_the_norm_is_held_against_the_norm() -> None:
    a, b = graph(*CHAIN), graph(("conv", "conv", ("x",)), ("relu", "activation", ("conv",)))
    assert pairs(a, b, values(a), values(b)) == [("bn", "conv", "name"), ("relu", "relu", "name")]
    assert pairs(b, a, values(b), values(a)) == [("conv", "bn", "name"), ("relu", "relu", "name")]


def test_not_where_the_convolutions_give_the_same() -> None:
    spelled = (("conv", "conv", ("x",)), ("bn.mul", "other", ("conv",)), ("bn.add", "other", ("bn.mul",)))
    a, b = graph(*CHAIN), graph(*spelled, ("relu", "activation", ("bn.add",)))
    values_a, values_b = values(a), values(b)
    values_b["conv"] = values_a["conv"] * (1 + 1e-6)
    assert ("conv", "conv", "name") in pairs(a, b, values_a, values_b)
    assert ("bn", "bn.add", "name") in pairs(a, b, values_a, values_b)


def test_equal_values_pair_whatever_the_names() -> None:
    a = graph(("one", "conv", ("x",)), ("two", "activation", ("one",)))
    b = graph(("eins", "conv", ("x",)), ("zwei", "activation", ("eins",)))
    values_a = values(a)
    values_b = {"eins": values_a["one"].reshape(2, 3, 4), "zwei": values_a["two"] + 1e-6}
    assert pairs(a, b, values_a, values_b) == [("one", "eins", "values"), ("two", "zwei", "values")]


def test_order_pairs_what_is_left_between_known_pairs() -> None:
    a = graph(("c1", "conv", ("x",)), ("r1", "activation", ("c1",)), ("c2", "conv", ("r1",)))
    b = graph(("k1", "conv", ("x",)), ("r1", "activation", ("k1",)), ("k2", "conv", ("r1",)))
    assert pairs(a, b, values(a), values(b)) == [("c1", "k1", "order"), ("r1", "r1", "name"), ("c2", "k2", "order")]


def test_the_first_parting_is_one_that_goes_on() -> None:
    a = graph(("c1", "conv", ("x",)), ("r1", "activation", ("c1",)), ("c2", "conv", ("r1",)), ("c3", "conv", ("c2",)))
    found = pair_places(places_of(a, values(a)), places_of(a, values(a)), values(a), values(a))
    assert first_parting(found, [False, False, True, True], a) == 2
    assert first_parting(found, [True, False, True, True], a) == 2, "c1 departs, and what follows on it agrees"
    assert first_parting(found, [False, False, False, True], a) == 3
    assert first_parting(found, [False] * 4, a) is None


def test_what_is_not_finite_in_one_alone_is_a_difference_in_either_order() -> None:
    one, two = np.array([[1.0, np.nan, 2.0]]), np.array([[1.0, 3.0, 2.0]])
    for before, after in ((one, two), (two, one)):
        sums = ApartSums()
        sums.add(before, after)
        sums.add(two, two)
        assert sums.largest == np.inf
    same = ApartSums()
    same.add(one, one)
    assert same.largest == 0
