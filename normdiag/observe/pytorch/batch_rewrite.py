"""A torch.export program for a fixed number of samples, rewritten for any: the sizes of its views and expansions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from normdiag.observe.batch_place import (
    BatchPlace,
    after_broadcast,
    after_reduction,
    after_reshape,
    after_transpose,
    freed,
)

aten = torch.ops.aten
_VIEWS = (aten.view, aten.reshape, aten._unsafe_view, aten.unflatten, aten.flatten)
_MADE = (aten.expand, aten.zeros, aten.ones, aten.full, aten.empty, aten.new_zeros, aten.new_ones, aten.new_full)
_GONE = (aten.squeeze, aten.select, aten.mean, aten.sum, aten.amax, aten.amin)
# What torch.export's module calls to refuse other sizes than it was exported for.
GUARDS = "_guards_fn"


def with_free_batch(module: fx.GraphModule, example: Sequence[Tensor]) -> fx.GraphModule:
    """A module over the same parameters in which the number of samples is free; the first axis of `example` has it.

    Whether the result is right has to be seen by running it. Raises what running the module on the example raises.
    """
    shapes = _shapes(module, example)
    graph = copy.deepcopy(module.graph)
    copies = dict(zip(module.graph.nodes, graph.nodes, strict=True))
    rewriting = _Rewriting(graph, {copies[node]: shape for node, shape in shapes.items()}, example)
    rewriting.run()
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == GUARDS:
            graph.erase_node(node)
    result = fx.GraphModule(module, graph, class_name="ExportedProgram")
    result.training = module.training
    return result


def _shapes(module: fx.GraphModule, example: Sequence[Tensor]) -> dict[fx.Node, tuple[int, ...]]:
    """The sizes of every tensor, as it runs on the example."""
    before = {node: dict(node.meta) for node in module.graph.nodes}
    try:
        with torch.no_grad():
            ShapeProp(module).propagate(*example)  # type: ignore[no-untyped-call,unused-ignore]
        found = {node: getattr(node.meta.get("tensor_meta"), "shape", None) for node in module.graph.nodes}
        return {node: tuple(int(size) for size in shape) for node, shape in found.items() if shape is not None}
    finally:
        for node, meta in before.items():
            node.meta.clear()
            node.meta.update(meta)


class _Rewriting:
    """One walk over the nodes, with the place of the samples in every tensor that holds them."""

    def __init__(self, graph: fx.Graph, shapes: dict[fx.Node, tuple[int, ...]], example: Sequence[Tensor]) -> None:
        self._graph, self._shapes, self._samples = graph, shapes, len(example[0])
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        self._first = inputs[0]
        self._places: dict[fx.Node, BatchPlace | None] = {node: BatchPlace(0) for node in inputs}

    def run(self) -> None:
        """Follow the samples, and free each constant that holds their number."""
        for node in list(self._graph.nodes):
            if node.op != "call_function":
                continue
            kind = getattr(node.target, "overloadpacket", node.target)
            known = [each for each in node.all_input_nodes if each in self._places]
            if known:
                self._places[node] = self._after(node, kind, known[0])
            elif kind in _MADE:
                self._made(node)

    def _after(self, node: fx.Node, kind: Any, source: fx.Node) -> BatchPlace | None:
        place, before, after = self._places[source], self._shapes.get(source), self._shapes.get(node)
        if place is None or before is None or after is None:
            return place
        if kind in _VIEWS:
            return self._view(node, place, before, after)
        order = _order(node, kind, len(before))
        if order is not None:
            return after_transpose(place, order)
        if kind is aten.unsqueeze:
            axis = int(node.args[1]) % len(after)  # type: ignore[arg-type]
            return BatchPlace(place.axis + (axis <= place.axis), place.outer)
        if kind in _GONE and len(after) < len(before):
            return after_reduction(place, self._axes(node), len(before), keeps=False)
        found = after_broadcast(place, len(before), len(after))
        if kind is aten.expand and found is not None:
            sizes = list(node.args[1])  # type: ignore[arg-type]
            sizes[found.axis] = -1
            node.update_arg(1, sizes)
        return found

    def _view(self, node: fx.Node, place: BatchPlace, before: Sequence[int], after: Sequence[int]) -> BatchPlace | None:
        found = after_reshape(place, before, after, self._samples)
        fixed = len(node.args) > 1 and isinstance(node.args[1], (list, tuple))
        if found is not None and fixed and all(isinstance(size, int) for size in node.args[1]):  # type: ignore[union-attr]
            node.update_arg(1, freed(after, found))
        return found

    def _axes(self, node: fx.Node) -> list[int]:
        given = node.args[1] if len(node.args) > 1 else ()
        return [given] if isinstance(given, int) else [int(axis) for axis in given or ()]  # type: ignore[union-attr,arg-type]

    def _made(self, node: fx.Node) -> None:
        """A tensor that the graph makes for so many samples, as a token for each of them."""
        place = next((i for i, arg in enumerate(node.args) if isinstance(arg, (list, tuple))), None)
        sizes = [] if place is None else list(node.args[place])  # type: ignore[arg-type]
        after = self._shapes.get(node, ())
        axis = next((i for i, size in enumerate(sizes) if size == self._samples and after[i] == self._samples), None)
        if place is None or axis is None:
            return
        with self._graph.inserting_before(node):
            sizes[axis] = self._graph.call_function(aten.sym_size.int, (self._first, 0))
        node.update_arg(place, sizes)
        self._places[node] = BatchPlace(axis)


def _order(node: fx.Node, kind: Any, rank: int) -> list[int] | None:
    """The order in which a node puts the axes; None where it leaves them."""
    order = list(range(rank))
    if kind is aten.permute:
        return [int(axis) % rank for axis in node.args[1]]  # type: ignore[union-attr,arg-type]
    if kind is aten.transpose:
        one, two = (int(axis) % rank for axis in node.args[1:3])  # type: ignore[arg-type]
        order[one], order[two] = order[two], order[one]
        return order
    return order[::-1] if kind is aten.t else None
