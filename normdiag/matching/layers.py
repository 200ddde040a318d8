"""Layers of two models paired: by name, by the end of the name, by equal values, and what is left by order and shape.

Each step takes only what the steps before it left, and only what is unique on both sides, so that no layer is in two
pairs and nothing is guessed where a name says it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from normdiag.records.contents import IndexPair, LayerContents, MatchedBy, Pairing

# Weights nearer than this are the same in another dtype: bfloat16 moves them by 0.002, 8 bits by less than 0.01.
EQUAL = 0.01
# More than this many values say no more about which weights they are.
SAMPLED = 4096


def pair_layers(a: Sequence[LayerContents], b: Sequence[LayerContents]) -> Pairing:
    """Which layer of `a` is which layer of `b`. What is named alike may differ in shape; all else may not."""
    left_a, left_b = dict(enumerate(a)), dict(enumerate(b))
    found: dict[int, IndexPair] = {}
    for by, pairs in _steps(left_a, left_b):
        for i, j in pairs:
            found[i] = IndexPair(i, j, by)
            del left_a[i], left_b[j]
    return Pairing(tuple(found[i] for i in sorted(found)), tuple(left_a), tuple(left_b))


Left = dict[int, LayerContents]
Pairs = list[tuple[int, int]]


def _steps(a: Left, b: Left) -> Iterator[tuple[MatchedBy, Pairs]]:
    """One step after the other: what a step has found is taken out of `a` and `b` before the next one looks."""
    yield "name", _by_name(a, b)
    yield "end of name", _by_end(a, b)
    yield "values", _by_values(a, b)
    yield "order", _by_order(a, b)


def _by_name(a: Left, b: Left) -> Pairs:
    """The own name first, then any that a layer goes by."""
    pairs: Pairs = []
    for names_of in (lambda layer: (layer.name,), lambda layer: layer.names):
        taken_a, taken_b = {i for i, _ in pairs}, {j for _, j in pairs}
        where = {name: j for j, layer in b.items() if j not in taken_b for name in names_of(layer)}
        for i, layer in a.items():
            j = next((where[name] for name in names_of(layer) if name in where), None) if i not in taken_a else None
            if j is not None and j not in taken_b and _alike(layer, b[j]):
                pairs.append((i, j))
                taken_b.add(j)
    return pairs


def _alike(one: LayerContents, two: LayerContents) -> bool:
    """Whether both are norms, or both linear with tensors of one role: one name then means one layer, in any shape."""
    if one.norm is not None or two.norm is not None:
        return one.norm is not None and two.norm is not None
    return not one.tensors.keys().isdisjoint(two.tensors)


def _by_end(a: Left, b: Left) -> Pairs:
    """'backbone.layer1.conv1' and 'layer1.conv1': one name ends in the other, and no other pair does."""
    by_last: dict[str, list[int]] = {}
    for j, layer in b.items():
        by_last.setdefault(_last(layer), []).append(j)
    fits = [(i, j) for i, one in a.items() for j in by_last.get(_last(one), ()) if _fits(one, b[j])]
    times_a, times_b = Counter(i for i, _ in fits), Counter(j for _, j in fits)
    return [(i, j) for i, j in fits if times_a[i] == 1 == times_b[j]]


def _last(layer: LayerContents) -> str:
    return layer.name.rpartition(".")[2]


def _fits(one: LayerContents, two: LayerContents) -> bool:
    short, long = sorted((one.name, two.name), key=len)
    return _alike(one, two) and one.shape == two.shape and long.endswith(f".{short}")


def _by_values(a: Left, b: Left) -> Pairs:
    """Weights of one shape that are equal but for rounding, each with the nearest; of equal ones the first."""
    pairs: Pairs = []
    groups_a, groups_b = _by_shape(a), _by_shape(b)
    for shape in groups_a.keys() & groups_b.keys():
        places_a, places_b = groups_a[shape], groups_b[shape]
        distance = _distances([a[i] for i in places_a], [b[j] for j in places_b])
        for row in np.argsort(distance.min(axis=1), kind="stable"):
            column = int(distance[row].argmin())
            if distance[row, column] < EQUAL:
                pairs.append((places_a[row], places_b[column]))
                distance[:, column] = np.inf
    return sorted(pairs)


def _by_shape(layers: Left) -> dict[tuple[int, ...], list[int]]:
    """Positions of layers with weights of more than one value, by the shape of these."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, layer in layers.items():
        if layer.norm is None and np.prod(layer.shape) > 1:
            groups.setdefault(layer.shape, []).append(i)
    return groups


def _distances(a: Sequence[LayerContents], b: Sequence[LayerContents]) -> NDArray[np.float64]:
    """Relative distance of each pair's first weights, shape (len(a), len(b)); infinite for what is all zeros or NaN."""
    one, two = (np.stack([_first_values(layer) for layer in each]) for each in (a, b))
    with np.errstate(all="ignore"):
        sizes = (one**2).sum(1)[:, None] * np.ones(len(b))
        squares = sizes + (two**2).sum(1)[None, :] - 2 * one @ two.T
        relative: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0) / sizes)
    return np.nan_to_num(relative, nan=np.inf, posinf=np.inf)


def _first_values(layer: LayerContents) -> NDArray[np.float64]:
    assert layer.main is not None  # layers without tensors have no shape to be grouped by
    return np.asarray(layer.main.read()).reshape(-1)[:SAMPLED].astype(np.float64)


def _by_order(a: Left, b: Left) -> Pairs:
    """Runs of layers of one kind and shape that follow on each other in both."""
    places_a, places_b = list(a), list(b)
    keys_a, keys_b = ([(_family(layer), layer.shape) for layer in each.values()] for each in (a, b))
    blocks = SequenceMatcher(None, keys_a, keys_b, autojunk=False).get_matching_blocks()
    return [(places_a[at_a + k], places_b[at_b + k]) for at_a, at_b, size in blocks for k in range(size)]


def _family(layer: LayerContents) -> str:
    """Norms among norms; else by the rank of the weights, since not every file says what reads them."""
    return "norm" if layer.norm is not None else f"weights of rank {len(layer.shape)}"
