"""Normalization layers as operations: what `inspect` finds in the graph, with the tensors that hold its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from normdiag.graph.eval_norm import eval_affine
from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.batch_norm import OLDEST_OPSET
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Claim, GraphScope, UnnamedOp
from normdiag.graph.recognise.written_out import ELSEWHERE, is_trailing
from normdiag.models.onnx.program import NormSite
from normdiag.records import Norm, NormLayer, Parameter

BATCH_NORM_PARAMETERS = ("scale", "bias", "mean", "variance")
PER_GROUP = "is stored once for each group"


def operator_norm(scope: GraphScope, node: Node, site: NormSite) -> Claim:
    """A normalization operator."""
    detail = _batch_norm(scope, node, site.layer) if site.layer.kind == "batch_norm" else _other(scope, node, site)
    draft = UnnamedOp("norm", scope.data(node), detail, site.layer.name)
    return Claim(draft, node.op, node.outputs, (node.index,), node.index)


def unread_batch_norm(scope: GraphScope, node: Node, name: str) -> Claim:
    """A BatchNormalization whose parameters are not known: it stays, and says why."""
    if scope.opset < OLDEST_OPSET:
        why = f"it is of operator set {scope.opset}; the oldest that is understood is {OLDEST_OPSET}"
    elif node.integer("spatial", 1) == 0:
        why = "it has statistics for every position (spatial=0)"
    else:
        why = _parameter_obstacle(scope, node) or "its parameters are computed by the graph"
    layer = NormLayer(name, "batch_norm", "operator", class_name=node.op)
    draft = UnnamedOp("norm", scope.data(node), Norm(layer, obstacle=why), name)
    return Claim(draft, node.op, node.outputs, (node.index,), node.index)


def _batch_norm(scope: GraphScope, node: Node, layer: NormLayer) -> Norm:
    layer = replace(layer, eps=_stored(layer.eps))
    found = eval_affine(layer)
    obstacle = found if isinstance(found, str) else _parameter_obstacle(scope, node) or _misfit(scope, node, layer)
    gamma, beta = (_known(scope, node.input(position)) for position in (1, 2))
    if isinstance(found, str) or obstacle:
        return Norm(layer, 1, gamma, beta, obstacle=obstacle)
    return Norm(layer, 1, gamma, beta, *found)


def _stored(eps: float | None) -> float | None:
    """The float32 after its shortest decimal: what a runtime adds, which shows in double precision."""
    return None if eps is None else float(np.float32(eps))


def _parameter_obstacle(scope: GraphScope, node: Node) -> str | None:
    for what, name in zip(BATCH_NORM_PARAMETERS, node.inputs[1:5], strict=False):
        why = scope.store.obstacle(name) if scope.store.is_constant(name) else "is computed by the graph"
        if why:
            return f"its {what} {why}"
    return None


def _misfit(scope: GraphScope, node: Node, layer: NormLayer) -> str | None:
    sizes = scope.book.of(node.inputs[0])
    if sizes is None or (len(sizes) > 1 and sizes[1].known in (None, layer.channels)):
        return None
    return "its input does not have as many channels as its parameters"


def _known(scope: GraphScope, name: str) -> Parameter | None:
    try:
        return scope.store.optional(name)
    except Unclear:
        return None


def _other(scope: GraphScope, node: Node, site: NormSite) -> Norm:
    """Layer, RMS, instance and group norm."""
    if node.op.startswith("Skip"):
        return Norm(site.layer, -1, obstacle="its operator adds its inputs too")
    gamma, beta = (_known(scope, node.input(position)) for position in (1, 2))
    if site.layer.kind == "group_norm":
        gamma, beta = (_per_channel(each, site.layer) for each in (gamma, beta))
    computed = [name for name in node.inputs[1:] if name and not scope.store.is_constant(name)]
    obstacle = site.obstacle or ("its parameters are computed by the graph" if computed else None)
    if node.domain and site.layer.kind == "group_norm":
        obstacle = "its operator has an activation of its own"
    return Norm(site.layer, site.channel_axis, gamma, beta, obstacle=obstacle)


def _per_channel(parameter: Parameter | None, layer: NormLayer) -> Parameter | None:
    """Operator set 18 stores one gamma for each group, which cannot absorb a factor for each channel."""
    if parameter is None or parameter.shape == (layer.channels,):
        return parameter
    return replace(parameter, obstacle=PER_GROUP)


def decomposed_norm(scope: GraphScope, site: NormSite) -> Claim | str:
    """A normalization of several nodes, or the reason why it is not one operation."""
    nodes = site.nodes
    last = scope.graph.producer(site.output)
    if last is None or last.index not in nodes:
        return "its output is not written by one of its own nodes"
    used = _used_elsewhere(scope, site)
    if used is not None:
        return f"its intermediate tensor {used!r} is used elsewhere too"
    inner = {name for i in nodes for name in scope.graph.nodes[i].outputs}
    inner |= scope.shapes  # shapes that it expands to are no data
    read = dict.fromkeys(name for i in nodes for name in scope.data(scope.graph.nodes[i]) if name not in inner)
    read.pop(site.input, None)
    detail = _decomposed(scope, site)
    draft = UnnamedOp("norm", (site.input, *read), detail, site.layer.name)
    operator = "+".join(scope.graph.nodes[i].op for i in nodes)
    return Claim(draft, operator, (site.output,), nodes, max(nodes))


def _used_elsewhere(scope: GraphScope, site: NormSite) -> str | None:
    for index in site.nodes:
        for name in scope.graph.nodes[index].outputs:
            if name and name != site.output and not scope.private(name, site.nodes):
                return name
    return None


def _decomposed(scope: GraphScope, site: NormSite) -> Norm:
    found = eval_affine(site.layer) if site.layer.kind == "batch_norm" else None
    obstacle = found if isinstance(found, str) else None
    scale, bias = (_known(scope, name) for name in site.parameters)
    if site.layer.kind in ("layer_norm", "rms_norm") and not is_trailing(site.axes, site.rank):
        scale, bias = (
            each if each is None or _runs_along(each, site) else replace(each, obstacle=ELSEWHERE)
            for each in (scale, bias)
        )
    return Norm(site.layer, site.channel_axis, scale, bias, obstacle=obstacle)


def _runs_along(parameter: Parameter, site: NormSite) -> bool:
    """Whether it varies along the one axis that is normalized, as (C, 1, 1) does along the channels of an image."""
    if site.rank is None:
        return False
    aligned = (1,) * (site.rank - len(parameter.shape)) + parameter.shape
    varying = tuple(axis for axis, size in enumerate(aligned) if size != 1)
    return len(aligned) == site.rank and varying == tuple(axis % site.rank for axis in site.axes)


def unseen_batch_norms(scope: GraphScope, seen: Sequence[int]) -> Iterator[Node]:
    """BatchNormalization nodes that are not among those that were recognised."""
    known = set(seen)
    for node in scope.graph.nodes:
        unseen = node.op == "BatchNormalization" and not node.domain and node.index not in known
        if unseen and not scope.store.is_constant(node.input(0)):
            yield node
