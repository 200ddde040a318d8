"""Whether new parameters fit the dtype in which they are stored: the largest weights of each channel tell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from normdiag.folding.affine import scales
from normdiag.folding.floats import limits
from normdiag.folding.layout import blocks, layout, peaks, place
from normdiag.folding.weights import by_matrix, changes_weight, exact_blocks, new_bias, new_parameters
from normdiag.records import Constant, Conv, LayerEdit, Linear, Norm, Op, Parameter
from normdiag.records.model import Array

# More than this many steps of the dtype off, and a weight has lost what it held.
STEPS = 4


@dataclass(frozen=True, eq=False)
class Peaks:
    """max|w| of each output channel of weights as they are stored, float64 (channels,). Each weight is read once."""

    known: dict[Conv | Linear, Array] = field(default_factory=dict)

    def of(self, layer: Conv | Linear) -> Array:
        """Those of one layer."""
        if layer not in self.known:
            self.known[layer] = _stored(layer)
        return self.known[layer]


def misfit(op: Op, edit: LayerEdit, dtype: str, peaks: Peaks) -> str | None:
    """Why the edit cannot be stored, as a clause; None where it can. `dtype` is that of the data that `op` gives.

    Overflow: a finite number becomes infinite. Loss: rounding moves a weight by more than 4 steps, eps * the largest
    weight of its channel, which only numbers below the normal range can; channels that are zero beside the largest of
    the layer even in eps * eps do not count.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(op.detail, Conv | Linear) and changes_weight(edit):
            return _weight_misfit(op, op.detail, edit, peaks) or _others_misfit(op, edit, dtype)
        return _others_misfit(op, edit, dtype)


def largest_weights(layer: Conv | Linear, edit: LayerEdit, peaks: Peaks) -> Array:
    """max|w| of each output channel, float64 (channels,), of what the edit makes of the stored weight."""
    inner, outer = edit.inner, edit.outer
    if edit.added is not None or (outer is not None and by_matrix(layer, outer.scale)):
        return _products(layer, edit)[0]
    largest = _products(layer, LayerEdit(inner=inner))[0] if inner and scales(inner) else peaks.of(layer)
    return largest * np.abs(outer.scale.reshape(-1)) if outer else largest


def _weight_misfit(op: Op, layer: Conv | Linear, edit: LayerEdit, peaks: Peaks) -> str | None:
    dtype = layer.weight.dtype
    out = largest_weights(layer, edit, peaks)
    if not np.isfinite(out).all() and not np.isfinite(peaks.of(layer)).all():
        return f"the weight of {op.operator} {op.name!r} holds values that are not finite"
    too_large = int((out > limits(dtype).largest).sum())
    if too_large:
        return f"its weights would overflow {dtype} in {_channels(too_large)} of {op.name!r}"
    inner = edit.inner is not None and scales(edit.inner)
    lost = max(_lost(out, dtype), _lost(_products(layer, edit)[1], dtype) if inner else 0)
    if lost:
        return f"its weights would be too small for {dtype} in {_channels(lost)} of {op.name!r}"
    return None


def _lost(largest: Array, dtype: str) -> int:
    """Channels where half a step of the smallest numbers is more than rounding may cost."""
    info = limits(dtype)
    against = np.maximum(largest, info.eps * info.eps * largest.max(initial=0))
    return int(((largest > 0) & (STEPS * info.eps * against < info.smallest / 2)).sum())


def _stored(layer: Conv | Linear) -> Array:
    """max|w| per output channel of the weight as it is."""
    view = layout(layer)
    weight = layer.weight.read().reshape(view.shape)
    largest = np.zeros((view.shape[0], view.shape[view.out_axis]))
    for where in blocks(view.shape):
        piece = weight[where] if weight.dtype.itemsize > 2 else weight[where].astype(np.float32)
        mine = place(where, view.out_axis)
        np.maximum(largest[mine], peaks(np.abs(piece), view.out_axis), out=largest[mine])
    return view.over_out(largest)


def _products(layer: Conv | Linear, edit: LayerEdit) -> tuple[Array, Array]:
    """max|w'| per output channel and per input channel of each group, for an edit that scales the input."""
    view = layout(layer)
    out, into = (np.zeros((view.shape[0], view.shape[axis])) for axis in (view.out_axis, view.in_axis))
    for where, exact in exact_blocks(layer, edit):
        piece = np.abs(exact)
        for largest, axis in ((out, view.out_axis), (into, view.in_axis)):
            mine = place(where, axis)
            np.maximum(largest[mine], peaks(piece, axis), out=largest[mine])
    return view.over_out(out), view.over_out(into)


def _others_misfit(op: Op, edit: LayerEdit, dtype: str) -> str | None:
    """All but the weight of a product: bias, gamma and beta, constants."""
    detail = op.detail
    if isinstance(detail, Conv | Linear):
        bias = new_bias(detail, edit)
        return None if bias is None else _overflow(op, bias, "bias", str(bias.dtype), detail.bias)
    new = new_parameters(op, edit)
    if isinstance(detail, Norm) and detail.gamma:
        gamma = np.abs(new.weight.astype(np.float64))
        lost = _lost(gamma, detail.gamma.dtype)
        if lost:
            return f"the gamma would be too small for {detail.gamma.dtype} in {_channels(lost)} of {op.name!r}"
        beta = None if new.bias is None else _overflow(op, new.bias, "beta", str(new.bias.dtype), detail.beta)
        return _overflow(op, new.weight, "gamma", detail.gamma.dtype, detail.gamma) or beta
    if isinstance(detail, Constant):
        return _overflow(op, new.weight, "value", detail.value.dtype, detail.value)
    named = ((new.weight, "scale"), (new.bias, "shift"))
    return next(filter(None, (_overflow(op, v, word, dtype, None) for v, word in named if v is not None)), None)


def _overflow(op: Op, new: Array, word: str, dtype: str, old: Parameter | None) -> str | None:
    count = int((~(np.abs(new.astype(np.float64)) <= limits(dtype).largest)).sum())
    if not count:
        return None
    if old is not None and not np.isfinite(old.read().astype(np.float64)).all():
        return f"the {word} of {op.operator} {op.name!r} holds values that are not finite"
    return f"the {word} would overflow {dtype} in {_channels(count)} of {op.name!r}"


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"
