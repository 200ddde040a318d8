"""Which layers take an affine map up into their parameters, and what keeps them from it."""

from __future__ import annotations

from normdiag.fold.affine import length, rank, scales, shifts, varying
from normdiag.fold.obstacle import Obstacle, blocked
from normdiag.records import Affine, Constant, Conv, Linear, Norm, Op, Parameter, ScaleShift

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


def is_target(op: Op) -> bool:
    """Whether it has parameters that could take something up."""
    return isinstance(op.detail, Conv | Linear | Norm | ScaleShift | Constant)


def outer_obstacle(op: Op, affine: Affine) -> Obstacle | None:
    """What keeps `op` from applying the map to its output, in the axes of that output."""
    match op.detail:
        case Conv() as conv:
            axis = conv_axis(conv, rank(affine))
            return _along(op, affine, axis, conv_channels(conv)[1]) or _outer_parameters(op, conv, affine)
        case Linear() as linear:
            size = linear.weight.shape[linear.out_axis] if len(linear.weight.shape) > 1 else 0
            axis = rank(affine) + linear.channel_axis
            return _along(op, affine, axis, size) or _outer_parameters(op, linear, affine)
        case Norm() as norm:
            return _norm_obstacle(op, norm, affine)
        case ScaleShift() as plain:
            return _scale_shift_obstacle(op, plain, affine)
        case Constant() as constant:
            return _fitting(op, affine, constant.value.shape) or _fixed(op, constant.value, "value")
    return blocked(op, "{op} has no weights to take it up")


def inner_obstacle(op: Op, affine: Affine) -> Obstacle | None:
    """What keeps `op` from applying the map to its input before anything else, in the axes of that input."""
    match op.detail:
        case Conv() as conv:
            axis = conv_axis(conv, rank(affine))
            return _along(op, affine, axis, conv_channels(conv)[0]) or _inner_conv(op, conv, affine)
        case Linear() as linear:
            size = linear.weight.shape[linear.in_axis] if len(linear.weight.shape) > 1 else 0
            axis = rank(affine) + linear.channel_axis
            return _along(op, affine, axis, size) or _inner_parameters(op, linear, affine)
        case Norm(scale=None):
            return blocked(op, "{op} normalizes whatever comes in")
        case Norm() as norm:
            return _norm_obstacle(op, norm, affine)
        case ScaleShift() as plain:
            return _scale_shift_obstacle(op, plain, affine)
    return blocked(op, "{op} has no weights to take it up")


def conv_axis(conv: Conv, rank: int) -> int | None:
    """The axis of the channels in data of this rank; None where the rank does not fit the kernel."""
    axis = rank - len(conv.weight.shape) + 1
    return axis if axis in (0, 1) else None


def conv_channels(conv: Conv) -> tuple[int, int]:
    """How many channels go in and come out."""
    first, second = conv.weight.shape[:2]
    return (first, second * conv.groups) if conv.transposed else (second * conv.groups, first)


def norm_axes(norm: Norm, rank: int) -> tuple[int, ...] | None:
    """The axes of the data along which gamma and beta run; None where they do not fit."""
    if norm.layer.kind in ("layer_norm", "rms_norm"):
        features = len(norm.gamma.shape) if norm.gamma else 0
        return tuple(range(rank - features, rank)) if features <= rank else None
    return (norm.axis % rank,) if -rank <= norm.axis < rank else None


def _along(op: Op, affine: Affine, axis: int | None, size: int) -> Obstacle | None:
    """It may vary along this axis only, and must fit the channels there."""
    if axis is None or not 0 <= axis < rank(affine):
        return blocked(op, "its channels do not fit those of {op}")
    if set(varying(affine)) - {axis}:
        return blocked(op, "its channels do not lie along those of {op}")
    if length(affine, axis) not in (1, size):
        return blocked(op, "its channels do not fit those of {op}")
    return None


def _outer_parameters(op: Op, layer: Conv | Linear, affine: Affine) -> Obstacle | None:
    weight = _fixed(op, layer.weight, "weight") if scales(affine) else None
    return weight or (_fixed(op, layer.bias, "bias") if layer.bias else None)


def _inner_parameters(op: Op, layer: Conv | Linear, affine: Affine) -> Obstacle | None:
    weight = _fixed(op, layer.weight, "weight")
    biased = layer.bias and (shifts(affine) or getattr(layer, "beta", 1.0) != 1.0)
    return weight or (_fixed(op, layer.bias, "bias") if layer.bias and biased else None)


def _inner_conv(op: Op, conv: Conv, affine: Affine) -> Obstacle | None:
    if shifts(affine) and conv.transposed:
        return blocked(op, "{op} is transposed: its shift would not be the same at the border", shift_only=True)
    if shifts(affine) and conv.padded:
        return blocked(op, "{op} pads with zeros, and its shift is not zero", shift_only=True)
    return _inner_parameters(op, conv, affine)


def _norm_obstacle(op: Op, norm: Norm, affine: Affine) -> Obstacle | None:
    """Gamma must be there; beta may be added, except to what has none by definition."""
    if norm.obstacle:
        return blocked(op, f"{{op}} does not take it up: {norm.obstacle}")
    if norm.gamma is None or (norm.beta is None and norm.scale is not None):
        return blocked(op, "{op} has no gamma and beta to take it up")
    if norm.beta is None and shifts(affine) and norm.layer.kind == "rms_norm":
        return blocked(op, "{op} has no beta to take up its shift", shift_only=True)
    axes = norm_axes(norm, rank(affine)) or ()
    if len(axes) != len(norm.gamma.shape) or set(varying(affine)) - set(axes):
        return blocked(op, "its channels do not lie along those of {op}")
    if any(length(affine, axis) not in (1, size) for axis, size in zip(axes, norm.gamma.shape, strict=True)):
        return blocked(op, "its channels do not fit those of {op}")
    beta = _fixed(op, norm.beta, "beta") if norm.beta else None
    return _fixed(op, norm.gamma, "gamma") or beta


def _scale_shift_obstacle(op: Op, plain: ScaleShift, affine: Affine) -> Obstacle | None:
    if plain.obstacle:
        return blocked(op, f"a constant of {{op}} {plain.obstacle}")
    return None if plain.scale.ndim == rank(affine) else blocked(op, "its channels do not fit those of {op}")


def _fitting(op: Op, affine: Affine, shape: tuple[int, ...]) -> Obstacle | None:
    fits = len(shape) == rank(affine) and all(length(affine, axis) in (1, size) for axis, size in enumerate(shape))
    return None if fits else blocked(op, "its channels do not fit those of {op}")


def _fixed(op: Op, parameter: Parameter, word: str) -> Obstacle | None:
    why = parameter.obstacle or (None if parameter.dtype in FLOATS else f"is stored as {parameter.dtype}")
    return blocked(op, f"the {word} of {{op}} {why}") if why else None
