"""Normalization operators, and the forms into which torch itself takes them apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from normdiag.graph.eval_norm import eval_affine
from normdiag.graph.importers.torch_export.calls import Call, dtype_of, module_of, rank_of, shape_of, words
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.records import NormKind, NormLayer
from normdiag.records.ops import Norm

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]
_NAMES = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
_SHOWN = {"gamma": "weight", "beta": "bias", "running_mean": "running mean", "running_var": "running variance"}
_ALWAYS_TRAINING = frozenset(("_batch_norm_with_update", "_batch_norm_with_update_functional"))


def running_norm(
    call: Call, program: Program, kind: NormKind, tensors: Mapping[str, Any], training: bool
) -> tuple[NormLayer, Norm, tuple[Node, ...]]:
    """A BatchNorm or InstanceNorm with its fixed affine map, or why it has none.

    `tensors` are its gamma, beta, running_mean and running_var, None where it has none.
    """
    has_statistics = tensors.get("running_mean") is not None and tensors.get("running_var") is not None
    args = call.args
    layer = norm_layer(
        program,
        call.node,
        kind,
        tensors,
        eps=args.get("eps", args.get("epsilon")),
        momentum=args.get("momentum"),
        training=training and has_statistics,
    )
    gamma, beta = (program.parameter(tensors.get(name)) for name in ("gamma", "beta"))
    affine = (None if layer.training else _computed(program, tensors)) or eval_affine(layer)
    parameters = tuple(each for each in tensors.values() if isinstance(each, Node))
    if isinstance(affine, tuple):
        return layer, Norm(layer, 1, gamma, beta, *affine), parameters
    on_input = kind == "instance_norm" and not has_statistics
    return layer, Norm(layer, 1, gamma, beta, obstacle=None if on_input else affine), parameters


def norm_layer(program: Program, node: Node, kind: NormKind, tensors: Mapping[str, Any], **facts: Any) -> NormLayer:
    """The record that `inspect` has of the layer; its name is given later (see names.py)."""
    _, path, class_name = module_of(node)
    arrays: dict[str, Any] = {name: program.array(each) for name, each in tensors.items() if program.is_stored(each)}
    known = next(iter(arrays.values()), None)
    facts.setdefault("channels", None if known is None else int(known.size))
    return NormLayer(name=path, kind=kind, origin="module", class_name=class_name or None, **arrays, **facts)


def _computed(program: Program, tensors: Mapping[str, Any]) -> str | None:
    for name, each in tensors.items():
        if each is not None and not program.is_constant(each):
            return f"its {_SHOWN[name]} {program.obstacle(each)}"
    return None


def _batch_norm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    training = bool(call.args.get("training", call.operator in _ALWAYS_TRAINING or call.overload == "no_stats"))
    output = program.single_output(call.node)
    updated = program.items(call.node) if training and output is None else ()
    data = call.args["input"]
    if (output is None and not updated) or not program.is_data(data) or rank_of(data) < 2:
        return None
    tensors = {ours: call.args.get(theirs) for ours, theirs in _NAMES.items()}
    _, detail, parameters = running_norm(call, program, "batch_norm", tensors, training)
    draft = norm_draft(call, output or updated[0], detail, data, parameters)
    if not updated:
        return (draft,)
    return (replace(draft, outputs=tuple(each.name for each in updated), nodes=(call.node, *updated)),)


def _instance_norm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    data = call.args["input"]
    if not program.is_data(data) or rank_of(data) < 3:
        return None
    tensors = {ours: call.args.get(theirs) for ours, theirs in _NAMES.items()}
    training = bool(call.args["use_input_stats"])
    _, detail, parameters = running_norm(call, program, "instance_norm", tensors, training)
    return (norm_draft(call, call.node, detail, data, parameters),)


def _group_norm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    groups = call.args.get("num_groups", call.args.get("group"))
    return _own_moments(call, program, "group_norm", axis=1, channels=_channels(call.first), groups=groups)


def _layer_norm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    return _over_last_axes(call, program, "layer_norm")


def _rms_norm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    return _over_last_axes(call, program, "rms_norm")


def _over_last_axes(call: Call, program: Program, kind: NormKind) -> tuple[AnchoredOp, ...] | None:
    shape = call.args["normalized_shape"]
    if not all(isinstance(size, int) for size in shape):
        return None
    axis = rank_of(call.first) - 1
    return _own_moments(call, program, kind, axis=axis, channels=math.prod(shape), normalized_rank=len(shape))


def _own_moments(
    call: Call, program: Program, kind: NormKind, axis: int, **facts: Any
) -> tuple[AnchoredOp, ...] | None:
    """A norm that uses the moments of its own input: nothing to fold but gamma and beta."""
    output, data = program.single_output(call.node), call.first
    if output is None or not program.is_data(data):
        return None
    tensors = {"gamma": call.args.get("weight"), "beta": call.args.get("bias")}
    eps = call.args.get("eps")
    eps = torch.finfo(dtype_of(data)).eps if eps is None else eps  # what torch.rms_norm takes for eps=None
    layer = norm_layer(program, call.node, kind, tensors, eps=float(eps), training=False, **facts)
    gamma, beta = (program.parameter(each) for each in tensors.values())
    if any(each is not None and found is None for each, found in zip(tensors.values(), (gamma, beta), strict=True)):
        return None
    parameters = tuple(each for each in tensors.values() if isinstance(each, Node))
    return (norm_draft(call, output, Norm(layer, axis, gamma, beta), data, parameters),)


def norm_draft(call: Call, output: Node, detail: Norm, data: Node, parameters: tuple[Node, ...]) -> AnchoredOp:
    """The Op of a norm whose operator returns one tensor, or several of which the first is used."""
    nodes = (call.node,) if output is call.node else (call.node, output)
    name = detail.layer.kind
    return AnchoredOp(call.node, name, "norm", detail, (data.name,), (output.name,), nodes, parameters)


def _channels(data: Node) -> int | None:
    shape = shape_of(data)
    size = data.meta["val"].shape[1]
    return shape[1] if shape is not None else size if isinstance(size, int) else None


BATCH_NORMS = words(
    """batch_norm native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training _native_batch_norm_legit_functional _batch_norm_no_update
    _batch_norm_with_update _batch_norm_with_update_functional"""
)
HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    "instance_norm": _instance_norm,
    **dict.fromkeys(("group_norm", "native_group_norm"), _group_norm),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    **dict.fromkeys(("rms_norm", "_fused_rms_norm"), _rms_norm),
}
