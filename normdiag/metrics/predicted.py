"""The means that the weights themselves predict for the inputs of BatchNorm layers, without any data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.metrics.kernels import conv_mean, linear_mean
from normdiag.metrics.laws import Law, after_norm, product, signed_sum, through
from normdiag.records import (
    Add,
    Concat,
    Conv,
    Linear,
    Norm,
    NormLayer,
    Op,
    Opaque,
    OpGraph,
    Pass,
    Pointwise,
    Reshape,
    ScaleShift,
    Sizes,
    Split,
    Take,
    Transpose,
    Window,
)

Floats = NDArray[np.float64]
Laws = Mapping[str, Law]
# No layer has more; a slice in a hostile file may.
MOST_CHANNELS = 2**16


@dataclass(frozen=True, eq=False)
class Predicted:
    """A BatchNorm layer's stored mean beside the one that the weights before it predict.

    `predicted`, `stored` and `s` = sqrt(var + eps) are float64 (C,), of the channels whose variance is above eps:
    the others say nothing, since they carry nothing.
    """

    layer: str
    predicted: Floats
    stored: Floats
    s: Floats

    @property
    def rms(self) -> float:
        """RMS over the channels of (stored - predicted) / s: how far off the layer's output is."""
        return _rms((self.stored - self.predicted) / self.s)

    @property
    def zero(self) -> float:
        """The same for a prediction of zero: the size of what there is to predict."""
        return _rms(self.stored / self.s)

    @property
    def relative(self) -> float:
        """`rms` over the RMS size of the two means: 0 where they agree, sqrt(2) where they have nothing in common."""
        size = np.hypot(self.zero, _rms(self.predicted / self.s)) / np.sqrt(2.0)
        return float(self.rms / size) if size > 0 else 0.0


def predicted_means(graph: OpGraph) -> tuple[Predicted, ...]:
    """For each BatchNorm whose input has a predictable mean, that mean and the stored one, in the graph's order.

    Reads the weights between one norm and the next once, and no others.
    """
    layers = {op.outputs[0]: layer for op in graph.ops if (layer := judged(op)) is not None}
    needed = _needed(graph, layers)
    laws: dict[str, Law] = {}
    found: list[Predicted] = []
    for op in graph.ops:
        layer = layers.get(op.outputs[0]) if op.outputs else None
        if layer is not None and op.inputs[0] in laws:
            found.extend(_compared(layer, laws[op.inputs[0]]))
        if needed.isdisjoint(op.outputs):
            continue
        try:
            laws.update((name, law) for name, law in _after(graph, op, layer, laws) if np.isfinite(law.mean).all())
        except InputError:  # weights that cannot be read, external ones most of all, are not this analysis' matter
            continue
    return tuple(found)


def judged(op: Op) -> NormLayer | None:
    """The BatchNorm layer of an operation, if its stored statistics can be compared with anything.

    Left out are statistics that were never updated (all means 0, all variances 1: ND104; another tool may have moved
    them into gamma and beta), and a layer that is used in several places, where they describe a mixture.
    """
    norm = op.detail
    if not isinstance(norm, Norm) or norm.layer.kind != "batch_norm" or norm.scale is None or norm.obstacle:
        return None
    shared = all(each is not None and each.shared_with for each in (norm.gamma, norm.beta))
    return None if shared or not _is_updated(norm.layer) else norm.layer


def _is_updated(layer: NormLayer) -> bool:
    if layer.running_mean is None or layer.running_var is None:
        return False
    mean, var = (np.asarray(values, np.float64) for values in (layer.running_mean, layer.running_var))
    return mean.shape == var.shape and bool(np.any(mean != 0.0) or np.any(var != 1.0))


def _compared(layer: NormLayer, law: Law) -> Iterator[Predicted]:
    mean, var = (np.asarray(values, np.float64) for values in (layer.running_mean, layer.running_var))
    eps = layer.eps or 0.0
    if mean.shape != law.mean.shape:
        return
    alive = var > eps
    if alive.any():
        yield Predicted(layer.name, law.mean[alive], mean[alive], np.sqrt(var + eps)[alive])


def _needed(graph: OpGraph, layers: Mapping[str, NormLayer]) -> frozenset[str]:
    """The tensors whose laws the judged layers depend on; after a norm nothing before it counts."""
    needed: set[str] = set()
    for op in reversed(graph.ops):
        if op.outputs and op.outputs[0] in layers:
            needed.add(op.inputs[0])
        elif not needed.isdisjoint(op.outputs):
            needed.update(op.inputs)
    return frozenset(needed)


def _after(graph: OpGraph, op: Op, layer: NormLayer | None, laws: Laws) -> Iterator[tuple[str, Law]]:
    """The laws of an operation's outputs, as far as they are known."""
    if isinstance(op.detail, Norm):
        law = None if layer is None else after_norm(layer, op.detail.axis, op.outputs[0])
        yield from () if law is None else ((op.outputs[0], law),)
        return
    inputs = [laws[name] for name in op.inputs if name in laws]
    if inputs and len(inputs) == len(op.inputs):
        yield from zip(op.outputs, _outputs(graph, op, inputs), strict=False)


def _outputs(graph: OpGraph, op: Op, inputs: list[Law]) -> tuple[Law, ...]:
    if isinstance(op.detail, Split):
        return _split(op, op.detail, inputs[0])
    if isinstance(op.detail, Take):
        return _taken(graph, op, op.detail, inputs[0])
    law = _joined(op, inputs) if len(inputs) > 1 else _single(graph, op, inputs[0])
    return () if law is None else (law,)


def _joined(op: Op, inputs: list[Law]) -> Law | None:
    """Of several tensors: concatenated, added, multiplied."""
    first, detail = inputs[0], op.detail
    if any(law.axis != first.axis for law in inputs):
        return None
    if isinstance(detail, Concat) and detail.axis == first.axis:
        known = [law.values for law in inputs if law.values is not None]
        values = np.concatenate(known) if len(known) == len(inputs) else None
        return Law(np.concatenate([law.mean for law in inputs]), first.axis, values, op.outputs[0])
    if len({len(law.mean) for law in inputs}) > 1:
        return None
    if isinstance(detail, Add):
        return signed_sum(inputs, detail.signs, op.outputs[0])
    if isinstance(detail, Opaque) and detail.function is not None and detail.function.kind == "product":
        return product(inputs[0], inputs[1])
    return None


def _single(graph: OpGraph, op: Op, law: Law) -> Law | None:
    """Of one tensor: through the linear layers, whose sums have a mean but no known distribution, or a simple step."""
    before, after = graph.sizes.get(op.inputs[0]), graph.sizes.get(op.outputs[0])
    match op.detail:
        case Conv() as conv:
            mean, axis = conv_mean(conv, law.mean, before, after) if law.axis == 1 else None, 1
        case Linear() as linear if before is not None:
            fits = law.axis == len(before) + linear.input_axis
            mean, axis = linear_mean(linear, law.mean) if fits else None, len(before) + linear.channel_axis
        case _:
            return _stepped(op, law, before, after)
    return None if mean is None else Law(mean, axis)


def _stepped(op: Op, law: Law, before: Sizes | None, after: Sizes | None) -> Law | None:
    found: Law | None = None
    match op.detail:
        case Opaque(function=Pointwise() as function):
            found = through(function, law)
        case Pass():
            found = law
        case Transpose(perm) if law.axis in perm:
            found = replace(law, axis=perm.index(law.axis))
        case ScaleShift() as affine:
            found = _scaled(affine, law)
        case Window() as window:
            found = _windowed(op, window, law, before, after)
        case Reshape():
            found = _squeezed(law, before, after)
    return found


def _windowed(op: Op, window: Window, law: Law, before: Sizes | None, after: Sizes | None) -> Law | None:
    """A mean over positions keeps the mean, a sum multiplies it."""
    if window.zeros is not None and window.axes == (law.axis,):
        return _padded(law, window.zeros)
    if law.axis in window.axes or window.scale != "any" or not window.shift:
        return None
    axis = law.axis - sum(each < law.axis for each in window.axes) * window.removed
    if op.kind != "other":
        return Law(law.mean * window.total, axis)
    return law if not window.removed and _is_half(window.axes, before, after) else None


def _padded(law: Law, zeros: tuple[int, int]) -> Law | None:
    """With channels of zeros before and after the others, as in shortcuts without weights."""
    if sum(zeros) > MOST_CHANNELS:
        return None
    values = None if law.values is None else np.pad(law.values, (zeros, (0, 0)))
    return replace(law, mean=np.pad(law.mean, zeros), values=values)


def _taken(graph: OpGraph, op: Op, take: Take, law: Law) -> tuple[Law, ...]:
    """A choice of channels has theirs; one of every second position, say, the law of all.

    A part of the positions need not have the mean of all: one counts where it keeps half of them.
    """
    before, found = graph.sizes.get(op.inputs[0]), list[Law]()
    for name, picks in zip(op.outputs, take.picks, strict=False):
        chosen = take.axis == law.axis and picks is not None and not take.removed
        if chosen and picks is not None and len(picks) <= MOST_CHANNELS and max(picks, default=0) < len(law.mean):
            place = list(picks)
            values = None if law.values is None else law.values[place]
            found.append(Law(law.mean[place], law.axis, values, name))
        elif take.axis != law.axis and not take.removed and _is_half((take.axis,), before, graph.sizes.get(name)):
            found.append(law)
        else:
            return ()
    return tuple(found)


def _is_half(axes: tuple[int, ...], before: Sizes | None, after: Sizes | None) -> bool:
    if before is None or after is None or len(before) != len(after):
        return False
    pairs = [(before[axis].known, after[axis].known) for axis in axes]
    return all(large is not None and small is not None and 2 * small >= large for large, small in pairs)


def _scaled(affine: ScaleShift, law: Law) -> Law | None:
    columns = []
    for each in (affine.scale, affine.shift):
        along = each.ndim > law.axis and each.shape[law.axis] == each.size == len(law.mean)
        if each.size != 1 and not along:
            return None
        columns.append(np.broadcast_to(each.reshape(-1), law.mean.shape))
    scale, shift = columns
    values = None if law.values is None else scale[:, None] * law.values + shift[:, None]
    return replace(law, mean=scale * law.mean + shift, values=values)


def _squeezed(law: Law, before: Sizes | None, after: Sizes | None) -> Law | None:
    """(N, C, 1, 1) to (N, C) and back. Flattened positions differ from the mean over them by far too much."""
    if law.axis != 1 or before is None or after is None or before[:2] != after[:2]:
        return None
    return law if all(size.known == 1 for size in (*before[2:], *after[2:])) else None


def _split(op: Op, split: Split, law: Law) -> tuple[Law, ...]:
    if split.axis != law.axis or sum(split.parts) != len(law.mean):
        return ()
    ends = np.cumsum(split.parts)
    pieces = [slice(end - part, end) for end, part in zip(ends, split.parts, strict=True)]
    return tuple(
        Law(law.mean[piece], law.axis, None if law.values is None else law.values[piece], name)
        for piece, name in zip(pieces, op.outputs, strict=False)
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values * values)))
