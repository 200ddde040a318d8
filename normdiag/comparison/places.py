"""Where the values of two models can be held against each other, and which place of the one is which of the other.

By name first. A convolution that absorbed a norm is held against that norm: what comes after both is the same. Then by
equal values, and what is left by order, kind and size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np

from normdiag.records import Op, OpGraph
from normdiag.records.contents import MatchedBy
from normdiag.records.model import Array

Values = Mapping[str, Array]
# Kinds of ops that compute something: what only moves values is seen at the next of these.
KINDS = frozenset(
    {
        "conv",
        "conv_transpose",
        "linear",
        "norm",
        "scale_shift",
        "activation",
        "add",
        "concat",
        "pool",
        "resize",
        "other",
    }
)
LINEAR = frozenset({"conv", "conv_transpose", "linear"})
# Values nearer than this, of the largest, are the same but for rounding; a few samples tell.
SAME = 1e-3
SAMPLED = 8192


@dataclass(frozen=True, eq=False)
class Place:
    """The output of an op. `position` is that of the op in its graph."""

    name: str
    op: Op
    position: int
    tensor: str


@dataclass(frozen=True, eq=False)
class PlacePair:
    """The same place in both models."""

    a: Place
    b: Place
    by: MatchedBy


def places_of(graph: OpGraph, present: Collection[str]) -> tuple[Place, ...]:
    """The places of a graph in its order."""
    found = []
    for position, op in enumerate(graph.ops):
        tensor = op.outputs[0] if op.outputs else ""
        if op.kind in KINDS and tensor in present and "int" not in graph.dtypes.get(tensor, "float32"):
            found.append(Place(op.name, op, position, tensor))
    return tuple(found)


def absorbed(
    places: Sequence[Place], graph: OpGraph, other: Sequence[Place], values: Values, values_other: Values
) -> tuple[Place, ...]:
    """The places without linear layers whose norm the other model does not have, and that norm in their stead.

    Only where the other has fewer norms, since otherwise they may be there under other names, and where the linear
    layers of one name do not give the same before the norm.
    """
    norms = {place.name for place in other if place.op.kind == "norm"}
    if len(norms) >= sum(place.op.kind == "norm" for place in places):
        return tuple(places)
    known = {place.name for place in other}
    readers, where = _readers(graph), {place.name: place for place in other}
    gone: dict[str, Place] = {}
    for place in places:
        after = readers.get(place.tensor, [])
        is_last = len(after) == 1 and after[0].kind == "norm" and after[0].name not in norms
        same = where.get(place.name)
        if same is not None and _near(values.get(place.tensor), values_other.get(same.tensor)):
            continue
        if place.op.kind in LINEAR and is_last:
            gone[after[0].name] = place
    kept = (place for place in places if place not in gone.values())
    return tuple(
        replace(place, name=gone[place.name].name) if place.name in gone and place.name not in known else place
        for place in kept
    )


def pair_places(
    a: Sequence[Place], b: Sequence[Place], values_a: Mapping[str, Array], values_b: Mapping[str, Array]
) -> tuple[PlacePair, ...]:
    """Pairs in the order of `a`; the values are those of one batch by tensor, and places without are left out."""
    left_a = [place for place in a if place.tensor in values_a]
    left_b = [place for place in b if place.tensor in values_b]
    found: list[PlacePair] = []
    steps: tuple[Callable[[], Iterator[PlacePair]], ...] = (
        lambda: _by_name(left_a, left_b, values_a, values_b),
        lambda: _spelled_out(left_a, left_b, values_a, values_b),
        lambda: _by_values(left_a, left_b, values_a, values_b),
        lambda: _by_order(left_a, left_b, values_a, values_b, found),
    )
    for step in steps:
        for pair in tuple(step()):
            found.append(pair)
            left_a.remove(pair.a)
            left_b.remove(pair.b)
    return tuple(sorted(found, key=lambda pair: pair.a.position))


def _by_name(a: Sequence[Place], b: Sequence[Place], values_a: Values, values_b: Values) -> Iterator[PlacePair]:
    where = {place.name: place for place in b}
    for place in a:
        other = where.get(place.name)
        if other is not None and values_a[place.tensor].size == values_b[other.tensor].size:
            yield PlacePair(place, other, "name")


def _spelled_out(a: Sequence[Place], b: Sequence[Place], values_a: Values, values_b: Values) -> Iterator[PlacePair]:
    """A norm of the one, and in the other the last of several ops named after it: 'norm1' and 'norm1.add_2'."""
    for place in a:
        if place.op.kind == "norm" and (last := _last_part(place, values_a, b, values_b)) is not None:
            yield PlacePair(place, last, "name")
    for place in b:
        if place.op.kind == "norm" and (last := _last_part(place, values_b, a, values_a)) is not None:
            yield PlacePair(last, place, "name")


def _last_part(norm: Place, values: Values, others: Sequence[Place], values_others: Values) -> Place | None:
    size = values[norm.tensor].size
    parts = [each for each in others if each.name.startswith(f"{norm.name}.")]
    fitting = [each for each in parts if each.op.kind != "norm" and values_others[each.tensor].size == size]
    return fitting[-1] if fitting else None


def _by_values(a: Sequence[Place], b: Sequence[Place], values_a: Values, values_b: Values) -> Iterator[PlacePair]:
    """The first place of the other model with the same values, which are not all alike."""
    sampled = {place.tensor: _sample(values_b[place.tensor]) for place in b}
    taken: set[str] = set()
    for place in a:
        mine, size = _sample(values_a[place.tensor]), values_a[place.tensor].size
        scale = float(np.max(np.abs(mine), initial=0.0))
        if not np.isfinite(scale) or np.ptp(mine) == 0:
            continue
        for other in b:
            theirs = sampled[other.tensor]
            if other.tensor in taken or values_b[other.tensor].size != size:
                continue
            if float(np.max(np.abs(theirs - mine))) <= SAME * scale:
                taken.add(other.tensor)
                yield PlacePair(place, other, "values")
                break


def _near(one: Array | None, two: Array | None) -> bool:
    if one is None or two is None or one.size != two.size:
        return False
    mine, theirs = _sample(one), _sample(two)
    return float(np.max(np.abs(theirs - mine), initial=0.0)) <= SAME * float(np.max(np.abs(mine), initial=0.0))


def _sample(values: Array) -> Array:
    """Values from all over the array, as many of every array of one size."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLED)].astype(np.float64)


def _by_order(
    a: Sequence[Place], b: Sequence[Place], values_a: Values, values_b: Values, found: Sequence[PlacePair]
) -> Iterator[PlacePair]:
    """Runs of places of one kind and size, between the pairs that are known."""
    keys_a: dict[int, object] = {place.position: (_what(place), values_a[place.tensor].size) for place in a}
    keys_b: dict[int, object] = {place.position: (_what(place), values_b[place.tensor].size) for place in b}
    for number, pair in enumerate(found):
        keys_a[pair.a.position] = keys_b[pair.b.position] = number
    order_a, order_b = sorted(keys_a), sorted(keys_b)
    left_a, left_b = ({place.position: place for place in each} for each in (a, b))
    matcher = SequenceMatcher(None, [keys_a[i] for i in order_a], [keys_b[j] for j in order_b], autojunk=False)
    for at_a, at_b, size in matcher.get_matching_blocks():
        for i, j in zip(order_a[at_a : at_a + size], order_b[at_b : at_b + size], strict=True):
            if i in left_a and j in left_b:
                yield PlacePair(left_a[i], left_b[j], "order")


def _what(place: Place) -> str:
    """The kind or, where that says nothing, the operator: 'MatMul' and 'matmul' are one."""
    return place.op.operator.lower() if place.op.kind == "other" else place.op.kind


def _readers(graph: OpGraph) -> Mapping[str, list[Op]]:
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    return readers
