"""The ops that folding is asked to remove, with what they do, or why that is not known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from normdiag.folding.affine import collapsed, is_identity, length, mapped, varying
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.folding.situation import Situation, edited_map, own_map
from normdiag.folding.targets import FLOATS, is_number
from normdiag.records import Affine, Norm, NormKind, NormLayer, Op, Opaque, OpGraph, ScaleShift

Kind = NormKind | Literal["scale_shift"]
LAYER_KINDS = ("layer_norm", "rms_norm")


@dataclass(frozen=True)
class FoldSource:
    """One op that may go. `whole`: all of it, not only gamma and beta; `asked`: a norm, to be refused if it stays."""

    index: int
    name: str
    kind: Kind
    channels: int | None
    whole: bool = True
    asked: bool = True


def find_sources(graph: OpGraph, norms: Collection[str]) -> tuple[FoldSource, ...]:
    """In graph order. `norms` holds 'batch' (and what has fixed statistics like it), 'layer', or both."""
    found = (_source(index, op) for index, op in enumerate(graph.ops) if _is_float(op, graph))
    return tuple(source for source in found if source and ("batch" if source.whole else "layer") in norms)


def _source(index: int, op: Op) -> FoldSource | None:
    match op.detail:
        case Norm(layer=layer) if layer.kind in LAYER_KINDS:
            return FoldSource(index, layer.name, layer.kind, layer.channels, whole=False)
        case Norm(layer=layer, scale=scale, obstacle=obstacle) if is_batch(layer) or scale is not None or obstacle:
            return FoldSource(index, layer.name, layer.kind, layer.channels)
        case ScaleShift(norm=NormLayer() as layer):
            return FoldSource(index, layer.name, layer.kind, layer.channels)
        case ScaleShift(scale=scale, shift=shift) if not is_number(op):
            return FoldSource(index, op.name, "scale_shift", max(scale.size, shift.size), asked=False)
    return None


def _is_float(op: Op, graph: OpGraph) -> bool:
    return all(graph.dtypes.get(name, "float32") in FLOATS for name in op.outputs)


def is_batch(layer: NormLayer) -> bool:
    """Whether it is a BatchNorm."""
    return layer.kind == "batch_norm"


def source_map(situation: Situation, source: FoldSource) -> Affine | Obstacle:
    """What it does now, with what it has absorbed, in the axes of its data; or why that is not known."""
    op = situation.op(source.index)
    why = _unknown(op)
    if why:
        return Obstacle(why)
    ranks = (situation.rank(name) for name in (op.inputs[0], op.outputs[0]))
    rank = next((rank for rank in ranks if rank is not None), None)
    if rank is None:
        return _unknown_rank(situation, op.inputs[0])
    own = own_map(op, rank)
    if own is None:
        return Obstacle(f"its parameters do not fit its input {op.inputs[0]!r}")
    if not np.isfinite(own.scale).all() or not np.isfinite(own.shift).all():
        return Obstacle("its scale or shift is not finite in some channels")
    if not _fits(situation, op, own):
        return Obstacle(f"its input {op.inputs[0]!r} is not known to have as many channels")
    total = mapped(edited_map(own, situation.edits.get(source.index)), collapsed)
    nothing = not source.whole and is_identity(total)
    return Obstacle("its gamma is 1 and its beta 0: there is nothing to fold") if nothing else total


def _unknown_rank(situation: Situation, tensor: str) -> Obstacle:
    """With the operation that the tensor comes from, which is the reason."""
    producer = situation.producers.get(tensor)
    if producer is None:
        return Obstacle(f"the rank of its input {tensor!r} is unknown", tensor)
    op = situation.op(producer)
    what = f", {op.detail.why}" if isinstance(op.detail, Opaque) else ""
    return blocked(op, f"it comes out of {{op}}{what}, and the rank of that is unknown")


def _unknown(op: Op) -> str | None:
    """Why it is no fixed map."""
    if isinstance(op.detail, Norm) and op.detail.obstacle:
        return op.detail.obstacle
    if len(op.inputs) != 1 or sum(map(bool, op.outputs)) != 1 or not op.outputs[0]:
        return "it has more inputs or outputs than one"
    match op.detail:
        case Norm(layer=layer) as norm if layer.kind in LAYER_KINDS:
            return _affine_obstacle(norm)
        case Norm(scale=None) | Norm(shift=None):
            return "it has no running statistics: it normalizes with those of its input"
        case ScaleShift(obstacle=str(why)):
            return f"one of its constants {why}"
    return None


def _affine_obstacle(norm: Norm) -> str | None:
    if norm.gamma is None:
        return "it has no gamma or beta"
    for word, parameter in (("gamma", norm.gamma), ("beta", norm.beta)):
        if parameter is not None and (parameter.obstacle or parameter.dtype not in FLOATS):
            return f"its {word} {parameter.obstacle or f'is stored as {parameter.dtype}'}"
    return None


def _fits(situation: Situation, op: Op, own: Affine) -> bool:
    """Whether the data has all the channels that it varies along: constants could widen data that has one only."""
    sizes = situation.graph.sizes.get(op.inputs[0])
    if isinstance(op.detail, Norm):
        return sizes is None or all(sizes[axis].known in (None, length(own, axis)) for axis in varying(own))
    return sizes is not None and all(sizes[axis].known == length(own, axis) for axis in varying(own))
