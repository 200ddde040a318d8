"""What the means of a norm's input make of other means before the linear layer that feeds it, by its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from normdiag.errors import InputError
from normdiag.metrics.kernels import conv_response, linear_response
from normdiag.records import Conv, LayerMetrics, Linear, MeanResponse, Norm, Op, OpGraph, Pass


def with_responses(layers: Sequence[LayerMetrics], graph: OpGraph) -> tuple[LayerMetrics, ...]:
    """The layers with their responses, where they surely drift by themselves."""
    drifting = {each.layer.name for each in layers if each.own is not None and each.own.lower > 0}
    responses = _responses(graph, drifting) if drifting else {}
    return tuple(replace(each, response=responses.get(each.layer.name)) for each in layers)


def _responses(graph: OpGraph, names: set[str]) -> dict[str, MeanResponse]:
    """Of the layers with these names that follow a linear layer whose outputs do not move in all directions alike."""
    writers = {tensor: op for op in graph.ops for tensor in op.outputs if tensor}
    found: dict[str, MeanResponse] = {}
    for op in graph.ops:
        if isinstance(op.detail, Norm) and op.detail.layer.name in names:
            response = _response(graph, _linear_before(op, writers))
            if response is not None and len(response.directions) == op.detail.layer.channels:
                found[op.detail.layer.name] = response
    return found


def _linear_before(op: Op, writers: Mapping[str, Op]) -> Op | None:
    """The op that writes what a norm reads, past those that leave the values as they are."""
    before = writers.get(op.inputs[0])
    while before is not None and isinstance(before.detail, Pass):
        before = writers.get(before.inputs[0])
    return before


def _response(graph: OpGraph, op: Op | None) -> MeanResponse | None:
    if op is None:
        return None
    try:
        match op.detail:
            case Conv() as conv:
                return conv_response(conv, graph.sizes.get(op.inputs[0]), graph.sizes.get(op.outputs[0]))
            case Linear() as linear:
                return linear_response(linear)
    except InputError:  # weights that cannot be read
        return None
    return None
