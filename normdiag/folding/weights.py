"""New parameters of a layer that absorbs a fold: float64 arithmetic, one rounding to the stored dtype at the end.

With new(x) = outer(L(inner(x))): W' = outer.scale * W * inner.scale and
b' = outer.scale * (b + W @ inner.shift) + outer.shift (see docs/folding.md). What is added at the tap of a kernel comes
last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from normdiag.folding.affine import identity, scales, shifts
from normdiag.folding.floats import as_dtype
from normdiag.folding.layout import Layout, blocks, layout, part, place, tap
from normdiag.folding.situation import edited_map, own_map
from normdiag.folding.targets import norm_axes
from normdiag.records import Affine, Constant, Conv, LayerEdit, Linear, NewParameters, Norm, Op, Parameter, ScaleShift
from normdiag.records.model import Array


def new_parameters(op: Op, edit: LayerEdit) -> NewParameters:
    """What `op` must hold so that it does what the edit asks; see NewParameters.

    Memory beyond the weight itself and the new one is a fixed block and what depends on channels alone. A ScaleShift,
    which has no stored dtype of its own, comes in float64. Numbers that do not fit the dtype become infinite
    (misfit in checks.py tells beforehand). Raises TypeError for an op that takes nothing up.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        match op.detail:
            case Conv() | Linear():
                return _product(op.detail, edit)
            case Norm() as norm:
                return _norm(op, norm, edit)
            case ScaleShift(scale=scale):
                total = _total(op, scale.ndim, edit)
                return NewParameters(total.scale, total.shift)
            case Constant(value=value):
                outer = edit.outer or identity(len(value.shape))
                return NewParameters(_cast(outer.scale * _read(value) + outer.shift, value.dtype))
    raise TypeError(f"{op.operator} takes no fold up")


def changes_weight(edit: LayerEdit) -> bool:
    """Whether the weight of a convolution or linear layer changes, not only its bias."""
    return edit.added is not None or any(side is not None and scales(side) for side in (edit.inner, edit.outer))


def _product(layer: Conv | Linear, edit: LayerEdit) -> NewParameters:
    weight = layer.weight.read()
    bias = new_bias(layer, edit, weight)
    return NewParameters(_scaled(layer, edit) if changes_weight(edit) else weight, bias)


def scaled_blocks(layer: Conv | Linear, edit: LayerEdit) -> Iterator[Array]:
    """The new weight of a convolution or linear layer piece by piece, flat, in its dtype and the order of its elements.

    So it can be written without room for a whole one.
    """
    dtype = as_dtype(layer.weight.dtype)
    for _, piece in exact_blocks(layer, edit):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            block = piece.astype(dtype)
        yield block.reshape(-1)


def exact_blocks(layer: Conv | Linear, edit: LayerEdit) -> Iterator[tuple[tuple[slice, slice], Array]]:
    """The new weight in float64, before it is rounded: each block of its layout, and where that is."""
    view = layout(layer)
    source = layer.weight.read().reshape(view.shape)
    factors = scale_factors(layer, view, edit)
    for where in blocks(view.shape):
        piece = source[where].astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for factor in factors:
                piece *= part(factor, where)
        if edit.added is not None and isinstance(layer, Conv):
            _add_at_tap(piece, layer, view, where, edit.added)
        yield where, piece


def _add_at_tap(piece: Array, layer: Conv, view: Layout, where: tuple[slice, slice], added: Affine) -> None:
    """Each channel's own factor, where it reads itself: the channels of a group lie on the diagonal."""
    position = tap(layer)
    assert position is not None
    factors = np.broadcast_to(added.scale.reshape(-1), view.groups * view.shape[1]).reshape(view.groups, -1)[where]
    channels = np.arange(view.shape[1])[where[1]]
    piece[:, np.arange(len(channels)), channels, position] += factors


def _scaled(layer: Conv | Linear, edit: LayerEdit) -> Array:
    result = np.empty(layer.weight.shape, as_dtype(layer.weight.dtype))
    return _filled(result, scaled_blocks(layer, edit))


def _filled(result: Array, pieces: Iterable[Array]) -> Array:
    """`result`, which is contiguous, with the flat pieces as its values."""
    flat, start = result.reshape(-1), 0
    for piece in pieces:
        flat[start : start + piece.size] = piece
        start += piece.size
    return result


def scale_factors(layer: Conv | Linear, view: Layout, edit: LayerEdit) -> list[Array]:
    """The scales of an edit that are not all 1, to be broadcast over the view."""
    inner = [_over(layer, view.in_axis, edit.inner.scale)] if edit.inner and scales(edit.inner) else []
    outer = [_over(layer, view.out_axis, edit.outer.scale)] if edit.outer and scales(edit.outer) else []
    return inner + outer


def by_matrix(layer: Conv | Linear, values: Array) -> bool:
    """Whether values in the axes of the data differ between the matrices of a batch."""
    batch = isinstance(layer, Linear) and len(layer.weight.shape) > 2
    return batch and any(size > 1 for size in values.shape[:-2])


def _over(layer: Conv | Linear, axis: int, values: Array) -> Array:
    """Values in the axes of the data as they are broadcast over the view, whose `axis` holds their channels."""
    view = layout(layer)
    if not by_matrix(layer, values):
        return view.along(values.reshape(-1), axis)
    lead = layer.weight.shape[:-2]
    aligned = values.reshape(values.shape[values.ndim - 2 - len(lead) :])
    wide = np.broadcast_to(aligned, (*lead, *aligned.shape[-2:]))
    shape = [view.shape[0], 1, 1, 1]
    shape[axis] = -1
    return wide.reshape(shape)


def new_bias(layer: Conv | Linear, edit: LayerEdit, weight: Array | None = None) -> Array | None:
    """The effective bias; None where the layer has none and gets no shift. `weight` as stored, where it is at hand."""
    view = layout(layer)
    beta = layer.beta if isinstance(layer, Linear) else 1.0
    bias = beta * _read(layer.bias) if layer.bias else np.zeros(1)
    shifted = edit.inner is not None and shifts(edit.inner)
    if edit.inner is not None and shifted:
        stored = layer.weight.read() if weight is None else weight
        bias = bias + _shift_through(layer, view, stored, edit.inner.shift)
    if edit.outer is not None:
        bias = _beside(layer, edit.outer.scale) * bias + _beside(layer, edit.outer.shift)
    moved = any(side is not None and shifts(side) for side in (edit.outer, edit.added))
    if edit.added is not None:
        bias = bias + edit.added.shift.reshape(-1)
    if layer.bias is None and not shifted and not moved:
        return None
    if layer.bias is None:
        bias = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, _bias_shape(layer, view)))
    return _cast(bias, (layer.bias or layer.weight).dtype)


def _bias_shape(layer: Conv | Linear, view: Layout) -> tuple[int, ...]:
    channels = view.groups * view.shape[view.out_axis]
    return (channels, *_after(layer))


def _after(layer: Conv | Linear) -> tuple[int, ...]:
    """Ones for the axes of the output after its channels, as the bias of a product has them."""
    return (1,) * (-1 - layer.channel_axis) if isinstance(layer, Linear) else ()


def _beside(layer: Conv | Linear, values: Array) -> Array:
    """Numbers per output channel as they are broadcast against the bias."""
    if by_matrix(layer, values):
        return values.reshape(values.shape[values.ndim - len(layer.weight.shape) :])
    return values.reshape(-1, *_after(layer)) if values.size > 1 else values.reshape(-1)


def _shift_through(layer: Conv | Linear, view: Layout, weight: Array, shift: Array) -> Array:
    """What the layer makes of a constant input without padding, in the shape of its bias."""
    source = weight.reshape(view.shape)
    along = np.broadcast_to(_over(layer, view.in_axis, shift), (view.shape[0], *_along_in(view)))
    total = np.zeros((view.shape[0], view.shape[view.out_axis]))
    for where in blocks(view.shape):
        total[place(where, view.out_axis)] += _contracted(source[where].astype(np.float64), part(along, where), view)
    if isinstance(layer, Conv):
        return total.reshape(-1)
    lead = weight.shape[:-2]
    if not lead:
        return layer.alpha * total.reshape(-1, *_after(layer))
    return layer.alpha * total.reshape(*lead, *((-1, 1) if layer.channel_axis == -2 else (1, -1)))


def _along_in(view: Layout) -> tuple[int, int, int]:
    return (view.shape[1], 1, 1) if view.in_axis == 1 else (1, view.shape[2], 1)


def _contracted(piece: Array, along: Array, view: Layout) -> Array:
    """The sum over input channels and kernel of a block times numbers per input channel: (first, out)."""
    groups, rows = piece.shape[:2]
    if view.in_axis == 1:
        summed = along.reshape(groups, 1, rows) @ piece.reshape(groups, rows, -1)
        return np.asarray(summed.reshape(groups, *piece.shape[2:]).sum(2))
    wide = np.broadcast_to(along, (groups, 1, *piece.shape[2:])).reshape(groups, -1, 1)
    return np.asarray((piece.reshape(groups, rows, -1) @ wide).reshape(groups, rows))


def _norm(op: Op, norm: Norm, edit: LayerEdit) -> NewParameters:
    """Gamma and beta. Running statistics stay: gamma' = scale * sqrt(var + eps), beta' = shift + scale * mean."""
    assert norm.gamma is not None
    rank = max(side.scale.ndim for side in (edit.inner, edit.outer) if side)
    shape = norm.gamma.shape
    total = _total(op, rank, edit)
    axes = norm_axes(norm, rank) or ()
    scale, shift = (_per_channel(values, axes, shape) for values in (total.scale, total.shift))
    if norm.scale is not None:
        mean, var = (np.asarray(v, np.float64) for v in (norm.layer.running_mean, norm.layer.running_var))
        scale, shift = scale * np.sqrt(var + (norm.layer.eps or 0.0)), shift + scale * mean
    with_beta = norm.beta is not None or shifts(total)
    beta_dtype = (norm.beta or norm.gamma).dtype
    return NewParameters(_cast(scale, norm.gamma.dtype), _cast(shift, beta_dtype) if with_beta else None)


def _per_channel(values: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Values in the axes of the data as gamma has them."""
    return np.broadcast_to(values.reshape([values.shape[axis] for axis in axes]), shape)


def _total(op: Op, rank: int, edit: LayerEdit) -> Affine:
    own = own_map(op, rank)
    assert own is not None
    return edited_map(own, edit)


def _read(parameter: Parameter) -> Array:
    return np.asarray(parameter.read(), np.float64)


def _cast(values: Array, dtype: str) -> Array:
    return np.array(values, as_dtype(dtype), order="C")
