"""LayerNorm and RMSNorm written out: x / sqrt(mean(x^2) + eps), and the same of x - mean(x)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import axes_of, call_of, operator_of, rank_of, shape_of, sizes_of
from normdiag.graph.importers.torch_export.norms import norm_draft, norm_layer
from normdiag.graph.importers.torch_export.program import Draft, Program
from normdiag.records import NormKind
from normdiag.records.ops import Norm

_CASTS = ("to", "_to_copy", "type_as", "float", "prims.convert_element_type")


@dataclass(frozen=True, eq=False)
class _Core:
    """The division by the root: its input, whether the mean was subtracted, and all nodes in between."""

    data: Node
    centred: bool
    axes: tuple[int, ...]
    eps: float
    nodes: tuple[Node, ...]


def own_moments(node: Node, program: Program) -> Draft | None:
    """The norm whose division (or product with the reciprocal root) is this node, with its gamma and beta."""
    core = _core(node, program)
    if core is None:
        return None
    rank = rank_of(core.data)
    trailing = core.axes == tuple(range(rank - len(core.axes), rank))
    normalized = tuple(size.known for size in sizes_of(core.data)[-len(core.axes) :])
    known = trailing and None not in normalized
    end, inside = _through_casts_down(node, program)
    gamma = beta = None
    nodes = [*core.nodes, node, *inside]
    if known:
        end, gamma, nodes = _affine(end, "mul", normalized, nodes, program)
        if core.centred:
            end, beta, nodes = _affine(end, "add", normalized, nodes, program)
    tensors = {"gamma": gamma, "beta": beta}
    kind: NormKind = "layer_norm" if core.centred else "rms_norm"
    facts: dict[str, Any] = {"channels": math.prod(size or 0 for size in normalized)} if known else {}
    facts |= {"normalized_rank": len(core.axes)} if trailing else {}
    layer = norm_layer(program, node, kind, tensors, eps=core.eps, training=False, **facts)
    detail = Norm(layer, rank - 1, program.parameter(gamma), program.parameter(beta))
    parameters = tuple(each for each in (gamma, beta) if each is not None)
    draft = norm_draft(call_of(node), end, detail, core.data, parameters)
    return Draft(node, kind, "norm", detail, draft.inputs, (end.name,), tuple(dict.fromkeys(nodes)), parameters)


def _core(node: Node, program: Program) -> _Core | None:
    call = call_of(node)
    sides = [each for each in list(call.args.values())[:2] if isinstance(each, Node)]
    if len(sides) != 2 or not all(program.is_data(each) for each in sides):
        return None
    orders = [(sides[0], sides[1])] if call.operator == "div" else [(sides[0], sides[1]), (sides[1], sides[0])]
    for data, root in orders:
        variance = _under_root(root, reciprocal=call.operator == "mul")
        found = None if variance is None else _from_variance(data, *variance)
        if found is not None:
            return found
    return None


def _under_root(root: Node, reciprocal: bool) -> tuple[Node, float, tuple[Node, ...]] | None:
    """The variance, eps and the nodes of sqrt(variance + eps), or of its reciprocal."""
    nodes = [root]
    operator = operator_of(root)
    if reciprocal and operator == "reciprocal" and isinstance(root.args[0], Node):
        root = root.args[0]
        nodes.append(root)
        operator, reciprocal = operator_of(root), False
    wanted = ("rsqrt", -0.5) if reciprocal else ("sqrt", 0.5)
    powered = operator == "pow" and root.args[1] == wanted[1]
    inner = root.args[0] if operator == wanted[0] or powered else None
    if not isinstance(inner, Node) or operator_of(inner) != "add":
        return None
    variance, eps = inner.args[0], inner.args[1]
    if not isinstance(variance, Node) or not isinstance(eps, (int, float)) or inner.kwargs:
        return None
    return variance, float(eps), (*nodes, inner)


def _from_variance(data: Node, variance: Node, eps: float, nodes: tuple[Node, ...]) -> _Core | None:
    call = call_of(variance)
    if call.operator == "var":
        return _from_var(data, variance, eps, nodes)
    if call.operator != "mean" or not call.args.get("keepdim"):
        return None
    squared = call.first
    base = _squared(squared)
    if base is None:
        return None
    axes = axes_of(call.args.get("dim"), rank_of(squared))
    inside = (*nodes, variance, squared)
    centred = _centred(base, axes)
    same, casts = _up_casts(data), tuple(_casts_above(data))
    if same is not _up_casts(base):
        return None
    inside = (*inside, *casts, *_casts_above(base))
    if centred is None:
        return _Core(same, False, axes, eps, inside)
    source, more = centred
    top = _up_casts(source)
    return _Core(top, True, axes, eps, (*inside, *more, *_casts_above(source)))


def _from_var(data: Node, variance: Node, eps: float, nodes: tuple[Node, ...]) -> _Core | None:
    """torch.var(x, correction=0) beside x - mean(x)."""
    call = call_of(variance)
    source, biased = call.first, call.args.get("correction") == 0 or call.args.get("unbiased") is False
    axes = axes_of(call.args.get("dim"), rank_of(source))
    centred = _centred(_up_casts(data), axes)
    if not biased or not call.args.get("keepdim") or centred is None:
        return None
    origin, more = centred
    if _up_casts(origin) is not _up_casts(source):
        return None
    inside = (*nodes, variance, *more, *_casts_above(data), *_casts_above(origin), *_casts_above(source))
    return _Core(_up_casts(origin), True, axes, eps, inside)


def _squared(node: Any) -> Node | None:
    if not isinstance(node, Node):
        return None
    if operator_of(node) == "square" or (operator_of(node) == "pow" and node.args[1] == 2):
        return node.args[0] if isinstance(node.args[0], Node) else None
    same = operator_of(node) == "mul" and len(node.args) == 2 and node.args[0] is node.args[1]
    return node.args[0] if same and isinstance(node.args[0], Node) else None


def _centred(node: Node, axes: tuple[int, ...]) -> tuple[Node, tuple[Node, ...]] | None:
    """x and the nodes of x - mean(x) over these axes."""
    if operator_of(node) != "sub" or node.kwargs or len(node.args) != 2:
        return None
    source, mean = node.args
    if not isinstance(source, Node) or not isinstance(mean, Node) or operator_of(mean) != "mean":
        return None
    call = call_of(mean)
    fits = call.first is source and call.args.get("keepdim") and axes_of(call.args.get("dim"), rank_of(source)) == axes
    return (source, (node, mean)) if fits else None


def _up_casts(node: Node) -> Node:
    while operator_of(node) in _CASTS and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _casts_above(node: Node) -> Iterator[Node]:
    while operator_of(node) in _CASTS and isinstance(node.args[0], Node):
        yield node
        node = node.args[0]


def _through_casts_down(node: Node, program: Program) -> tuple[Node, list[Node]]:
    inside: list[Node] = []
    while len(readers := program.readers(node)) == 1 and operator_of(readers[0]) in _CASTS:
        node = readers[0]
        inside.append(node)
    return node, inside


def _affine(
    node: Node, operator: str, shape: tuple[Any, ...], nodes: list[Node], program: Program
) -> tuple[Node, Node | None, list[Node]]:
    """One reader that multiplies (or adds) a constant of the normalized shape."""
    readers = program.readers(node)
    if len(readers) != 1 or operator_of(readers[0]) != operator or readers[0].kwargs or len(readers[0].args) != 2:
        return node, None, nodes
    constant = next((each for each in readers[0].args if each is not node), None)
    if not program.is_constant(constant) or not isinstance(constant, Node) or shape_of(constant) != shape:
        return node, None, nodes
    return readers[0], constant, [*nodes, readers[0]]
