"""Normalization operators of ONNX and of onnxruntime's com.microsoft domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from normdiag.errors import InputError
from normdiag.graph.importers.onnx.batch_norm import batch_norm
from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.view import GraphView
from normdiag.graph.recognise.terms import Term
from normdiag.models.onnx.program import NormSite
from normdiag.records import NormKind, NormLayer
from normdiag.records.model import Array

COMPUTED = "its {} computed by the graph"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What an operator may look at: the graph, and the terms of decomposed normalization."""

    view: GraphView
    terms: Mapping[str, Term]

    @property
    def constants(self) -> OnnxConstants:
        """What is constant in the graph."""
        return self.view.constants

    @property
    def opset(self) -> int:
        """The operator set of the standard domain."""
        return self.view.graph.opset


def operator_site(node: Node, scope: Surroundings) -> NormSite | str | None:
    """The site of a normalization operator; a reason where it cannot be analysed; None for other operators.

    Raises InputError where required inputs are missing or do not fit together.
    """
    make = _OPERATORS.get((node.domain, node.op))
    if make is None:
        return None
    if not node.outputs or not node.outputs[0] or not node.input(0):
        raise InputError(f"{scope.constants.reader.path}: {node.op} {node.name!r} has no input or no output")
    return make(node, scope)


def _batch(node: Node, scope: Surroundings) -> NormSite | str:
    return batch_norm(node, scope.view, scope.terms)


def _instance(node: Node, scope: Surroundings) -> NormSite:
    gamma, beta, notes = _affine(node, scope, 1, 2)
    rank = scope.view.book.listed_rank(node.inputs[0])
    layer = _layer(node, "instance_norm", _size(gamma, beta), 1e-5, gamma, beta, notes)
    axes = () if rank is None else tuple(range(2, rank))
    return NormSite(layer, node.inputs[0], node.outputs[0], (node.index,), axes=axes, rank=rank)


def _group(node: Node, scope: Surroundings) -> NormSite:
    """GroupNormalization: one scale for each group in opset 18, one for each channel from 21."""
    shape = scope.view.book.listed(node.inputs[0])
    rank = None if shape is None else len(shape)
    gamma, beta, notes = _affine(node, scope, 1, 2)
    groups = node.integer("num_groups", node.integer("groups", 0))
    axis = -1 if node.domain and node.integer("channels_last", 1) else 1
    channels = shape[axis] if shape is not None and len(shape) > 1 else None
    if not node.domain and scope.opset < 21 and gamma is not None and beta is not None and groups:
        repeat = (channels or groups) // groups
        gamma, beta = np.repeat(gamma, repeat), np.repeat(beta, repeat)
        notes = (*notes, "scale and bias are stored once for each group (operator set 18)")
    else:
        channels = _size(gamma, beta) or channels
    layer = _layer(node, "group_norm", channels, 1e-5, gamma, beta, notes, groups=groups or None)
    return NormSite(
        layer,
        node.inputs[0],
        node.outputs[0],
        (node.index,),
        channel_axis=axis,
        rank=rank,
    )


def _layer_norm(node: Node, scope: Surroundings) -> NormSite:
    return _trailing(node, scope, "layer_norm", 1, 2)


def _rms_norm(node: Node, scope: Surroundings) -> NormSite:
    return _trailing(node, scope, "rms_norm", 1, None)


def _skip_layer_norm(node: Node, scope: Surroundings) -> NormSite:
    return _skip(node, _trailing(node, scope, "layer_norm", 2, 3, 1e-12), 4)


def _skip_rms_norm(node: Node, scope: Surroundings) -> NormSite:
    return _skip(node, _trailing(node, scope, "rms_norm", 2, None, 1e-12), 3)


def _skip(node: Node, site: NormSite, bias: int) -> NormSite:
    addends = tuple(name for name in (node.input(0), node.input(1), node.input(bias)) if name)
    return NormSite(site.layer, site.input, site.output, site.nodes, "graph", site.axes, -1, site.rank, addends)


def _trailing(
    node: Node, scope: Surroundings, kind: NormKind, scale: int, bias: int | None, default_eps: float = 1e-5
) -> NormSite:
    """LayerNorm and RMSNorm over the axes from `axis` on."""
    gamma, beta, notes = _affine(node, scope, scale, bias)
    shape = scope.view.book.listed(node.inputs[0])
    rank, axis = None if shape is None else len(shape), node.integer("axis", -1)
    if axis >= 0:
        axis -= rank if rank is not None else axis + (gamma.ndim if gamma is not None else 1)
    axes = tuple(range(max(min(axis, -1), -64), 0))
    channels = _size(gamma, beta) or _product(shape, axes)
    layer = _layer(node, kind, channels, default_eps, gamma, beta, notes, normalized_rank=len(axes))
    return NormSite(layer, node.inputs[0], node.outputs[0], (node.index,), "graph", axes, -1, rank)


def _layer(
    node: Node,
    kind: NormKind,
    channels: int | None,
    default_eps: float,
    gamma: Array | None,
    beta: Array | None,
    notes: tuple[str, ...],
    groups: int | None = None,
    normalized_rank: int | None = None,
) -> NormLayer:
    return NormLayer(
        name=node.name,
        kind=kind,
        origin="operator",
        channels=channels,
        eps=node.number("epsilon", default_eps),
        gamma=gamma,
        beta=beta,
        groups=groups,
        normalized_rank=normalized_rank,
        class_name=node.op,
        notes=notes,
    )


def _affine(
    node: Node, scope: Surroundings, scale: int, bias: int | None
) -> tuple[Array | None, Array | None, tuple[str, ...]]:
    """Scale and bias, None where they are left out or computed; the latter is noted."""
    names = node.input(scale), "" if bias is None else node.input(bias)
    gamma, beta = (scope.constants.array(name) for name in names)
    computed = [
        what
        for what, name, value in zip(("scale is", "bias is"), names, (gamma, beta), strict=True)
        if name and value is None
    ]
    if any(value is not None and value.dtype.kind in "iubSUO" for value in (gamma, beta)):
        where = f"{scope.constants.reader.path}: {node.op} {node.name!r}"
        raise InputError(f"{where}: its parameters are not floating-point numbers")
    return gamma, beta, tuple(COMPUTED.format(what) for what in computed)


def _size(*arrays: Array | None) -> int | None:
    return next((int(array.size) for array in arrays if array is not None), None)


def _product(shape: tuple[int | None, ...] | None, axes: tuple[int, ...]) -> int | None:
    if shape is None or len(axes) > len(shape):
        return None
    count = 1
    for axis in axes:
        count *= shape[axis] or 0
    return count or None


_OPERATORS: Mapping[tuple[str, str], Callable[[Node, Surroundings], NormSite | str]] = {
    ("", "BatchNormalization"): _batch,
    ("", "InstanceNormalization"): _instance,
    ("", "GroupNormalization"): _group,
    ("com.microsoft", "GroupNorm"): _group,
    ("", "LayerNormalization"): _layer_norm,
    ("com.microsoft", "LayerNormalization"): _layer_norm,
    ("", "RMSNormalization"): _rms_norm,
    ("", "SimplifiedLayerNormalization"): _rms_norm,
    ("com.microsoft", "SimplifiedLayerNormalization"): _rms_norm,
    ("com.microsoft", "SkipLayerNormalization"): _skip_layer_norm,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip_rms_norm,
}
