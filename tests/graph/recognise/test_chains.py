"""Elementwise arithmetic with constants as one map."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.graph.recognise.chains import Link, chains
from normdiag.records.model import Array

G, B = np.array([2.0, -1.0, 0.5]).reshape(1, 3, 1), np.array([1.0, 0.0, -3.0]).reshape(1, 3, 1)
ONE, ZERO = np.ones((1, 1, 1)), np.zeros((1, 1, 1))


def link(output: str, scale: Array = ONE, shift: Array = ZERO, **more: object) -> Link:
    """Each reads the one whose name is one less."""
    return Link(f"t{int(output[1:]) - 1}", output, "mul" if shift is ZERO else "add", scale, shift, **more)  # type: ignore[arg-type]


def found(*links: Link, stop: str = "") -> list[tuple[str, ...]]:
    by_output = {each.output: each for each in links}
    after = {each.data: each.output for each in links if each.data != stop}
    return [tuple(each.output for each in chain.links) for chain in chains(by_output, after.get)]


def test_a_chain_is_composed_in_its_order() -> None:
    links = {each.output: each for each in (link("t1", G), link("t2", ONE, B), link("t3", 2 * ONE))}
    (chain,) = chains(links, {"t1": "t2", "t2": "t3"}.get)
    composed = chain.composed()
    assert composed is not None and (chain.operator, chain.axis, chain.is_norm) == ("mul+add+mul", 1, True)
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_allclose(composed[0] * x + composed[1], (x * G + B) * 2)
    layer = chain.layer(*composed)
    assert (layer.kind, layer.channels, layer.origin) == ("batch_norm", 3, "decomposed")


def test_where_a_chain_ends() -> None:
    across = np.array([1.0, 2.0]).reshape(2, 1, 1)
    assert found(link("t1", G), link("t2", across)) == [("t1",), ("t2",)]
    assert found(link("t1", 2 * ONE), link("t2", G), link("t3", across)) == [("t1", "t2"), ("t3",)]
    assert found(link("t1", G), link("t2", ONE, B), stop="t1") == [("t1",), ("t2",)]
    assert found(link("t1", G, frame="a"), link("t2", ONE, B, frame="b")) == [("t1",), ("t2",)]


@pytest.mark.parametrize(("scale", "shift", "norm"), [(G, B, True), (G, ONE, False), (2 * ONE, B, False)])
def test_a_norm_scales_and_shifts_each_channel(scale: Array, shift: Array, norm: bool) -> None:
    links = {each.output: each for each in (link("t1", scale), link("t2", ONE, shift))}
    (chain,) = chains(links, {"t1": "t2"}.get)
    assert chain.is_norm == norm


def test_numbers_that_overflow_and_constants_that_must_stay() -> None:
    links = {each.output: each for each in (link("t1", 1e300 * G), link("t2", 1e300 * ONE, obstacle="is quantized"))}
    (chain,) = chains(links, {"t1": "t2"}.get)
    assert chain.composed() is None
    assert chain.obstacle == "is quantized"
