"""Normalization layers that a graph spells out: which kind they are, and their parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from normdiag.graph.recognise.affine import Placement, placement, varying_axes
from normdiag.graph.recognise.steps import Tensors
from normdiag.graph.recognise.terms import Normal
from normdiag.records import NormKind, NormLayer
from normdiag.records.model import Array

_CLASS_NAMES = {
    "layer_norm": "LayerNorm",
    "rms_norm": "RMSNorm",
    "instance_norm": "InstanceNorm",
    "group_norm": "GroupNorm",
    "batch_norm": "BatchNorm",
}
ELSEWHERE = "does not run along the last axes"
FIRST_AXIS = "normalizes over the first axis as well, so that samples cannot be told apart"
BATCH_STATISTICS = "normalizes with the statistics of the batch and stores none: its output depends on the batch"


@dataclass(frozen=True, eq=False)
class WrittenOut:
    """A layer, still without a name, and where it is.

    `input` is the tensor that is normalized, `output` the one after gamma and beta; `gamma` and `beta` name these, ""
    for none. `nodes` are the places of its steps, ascending; `core` is that of the step that completes the
    normalization. `axes` are those of `input` that one mean is taken over, empty for batch and group norm;
    `channel_axis` and `rank` are those of `input`. `obstacle` says why it cannot be watched.
    """

    layer: NormLayer
    input: str
    output: str
    nodes: tuple[int, ...]
    core: int
    axes: tuple[int, ...]
    channel_axis: int
    rank: int | None
    gamma: str = ""
    beta: str = ""
    obstacle: str | None = None

    @property
    def trailing(self) -> bool:
        """False for a LayerNorm or RMSNorm that does not span the last axes, where a linear layer after it looks."""
        return self.layer.kind not in ("layer_norm", "rms_norm") or is_trailing(self.axes, self.rank)


def is_trailing(axes: tuple[int, ...], rank: int | None) -> bool:
    """Whether these are the last axes of a tensor."""
    end = 0 if rank is None else rank
    counted = sorted(axis % rank if rank else axis for axis in axes)
    return counted == list(range(end - len(axes), end))


def written_out(term: Normal, tensors: Tensors) -> WrittenOut | None:
    """The layer that a written-out normalization is; None where it averages over all samples and features at once."""
    rank = tensors.rank(term.tensor)
    gamma = tensors.array(term.gamma) if term.gamma else None
    beta = tensors.array(term.beta) if term.beta else None
    affine = gamma if gamma is not None else beta
    where = _placement(term, affine, rank)
    kind = _kind(term, rank, where)
    single = _single_group(term, affine, rank)
    if single is not None:
        kind, term = "group_norm", replace(term, groups=1, grouped_axis=single)
    if kind is None:
        return None
    axes = () if kind in ("batch_norm", "group_norm") else term.span.axes
    channel_axis = _channel_axis(term, kind, rank)
    gamma, beta = (_squeezed(a, kind) if a is not None else None for a in (gamma, beta))
    layer = NormLayer(
        name="",
        kind=kind,
        origin="decomposed",
        channels=_channels(gamma, beta, tensors.shape(term.tensor), axes or (channel_axis,), channel_axis, kind),
        eps=term.eps,
        gamma=gamma,
        beta=beta,
        training=True if kind == "batch_norm" else None,
        groups=term.groups,
        normalized_rank=len(axes) if kind in ("layer_norm", "rms_norm") else None,
        class_name=_CLASS_NAMES[kind],
        notes=_notes(term, kind, rank, (gamma is None, beta is None)),
    )
    nodes = tuple(sorted(term.nodes))
    source = _available(term.tensor, nodes[0], tensors)
    names = term.gamma or "", term.beta or ""
    obstacle = BATCH_STATISTICS if kind == "batch_norm" else FIRST_AXIS if 0 in axes else None
    return WrittenOut(layer, source, term.output, nodes, term.core, axes, channel_axis, rank, *names, obstacle)


def _available(tensor: str, first: int, tensors: Tensors) -> str:
    """The tensor itself, or its root where a cast between the layer's own nodes makes it too late to be watched."""
    step = tensors.maker(tensor)
    return tensor if step is None or step.place < first else tensors.root(tensor)


def _placement(term: Normal, array: Array | None, rank: int | None) -> Placement | None:
    if array is None or term.groups is not None:
        return None
    return placement(array, term.span.axes, rank)


def _kind(term: Normal, rank: int | None, where: Placement | None) -> NormKind | None:
    axes = term.span.axes
    if term.groups is not None:
        return "group_norm"
    if rank is not None and 0 in axes:
        rest = set(range(rank)) - set(axes)
        if not rest and (where == "axes" or (term.gamma and where is None)):
            return "layer_norm" if term.centered else "rms_norm"
        return "batch_norm" if len(rest) == 1 and rest <= {1, rank - 1} and term.centered else None
    if not term.centered:
        return "rms_norm"
    if rank is None or rank < 3 or where == "axes":
        return "layer_norm"
    spatial = axes in (tuple(range(2, rank)), tuple(range(1, rank - 1)))
    return "instance_norm" if spatial and (where == "channel" or (where is None and len(axes) > 1)) else "layer_norm"


def _single_group(term: Normal, affine: Array | None, rank: int | None) -> int | None:
    """The channel axis of a GroupNorm with one group: all is normalized together, but scaled for each channel."""
    if affine is None or rank is None or rank < 3 or not term.centered or term.groups is not None:
        return None
    varies = varying_axes(affine, rank)
    alone = len(varies) == 1 and varies[0] in (1, rank - 1) and term.span.axes == tuple(range(1, rank))
    return (1 if varies[0] == 1 else -1) if alone else None


def _channel_axis(term: Normal, kind: NormKind, rank: int | None) -> int:
    axes = term.span.axes
    if kind == "group_norm":
        return term.grouped_axis
    if kind in ("layer_norm", "rms_norm"):
        return max(axes) if rank is None or max(axes) != rank - 1 else -1
    return 1 if 1 not in axes else -1


def _squeezed(array: Array, kind: NormKind) -> Array:
    """Parameters in the shape in which a layer has them: (C,), or the normalized shape of LayerNorm and RMSNorm."""
    if kind not in ("layer_norm", "rms_norm"):
        return array.reshape(-1)
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    while array.ndim > 1 and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def _channels(
    gamma: Array | None,
    beta: Array | None,
    shape: tuple[int | None, ...] | None,
    axes: tuple[int, ...],
    channel_axis: int,
    kind: NormKind,
) -> int | None:
    known = gamma if gamma is not None else beta
    if known is not None:
        return int(known.size)
    wanted = axes if kind in ("layer_norm", "rms_norm") else (channel_axis,)
    if shape is None or any(not -len(shape) <= a < len(shape) for a in wanted):
        return None
    count = 1
    for axis in wanted:
        count *= shape[axis] or 0
    return count or None


def _notes(term: Normal, kind: NormKind, rank: int | None, unknown: tuple[bool, bool]) -> tuple[str, ...]:
    axes, notes = term.span.axes, list(term.notes)
    if kind == "batch_norm":
        notes.append(BATCH_STATISTICS)
    if kind in ("layer_norm", "rms_norm") and rank is not None and max(axes) not in (-1, rank - 1):
        notes.append(f"normalizes over axis {', '.join(map(str, axes))}, not over the last")
    if (term.gamma and unknown[0]) or (term.beta and unknown[1]):
        notes.append("its scale or bias is computed by the graph")
    return tuple(notes)
