"""Which layers take an affine map up into their parameters, and what keeps them from it."""

from __future__ import annotations

from normdiag.folding.affine import length, rank, scales, shifts, varying
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.records import Affine, Constant, Conv, Linear, Norm, Op, Parameter, ScaleShift

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


def is_target(op: Op) -> bool:
    """Whether it has parameters that could take something up."""
    return isinstance(op.detail, Conv | Linear | Norm | ScaleShift | Constant) and not is_number(op)


def is_number(op: Op) -> bool:
    """Whether it scales and shifts everything by one number: nothing to fold by itself, and nothing to fold into."""
    plain = op.detail
    return isinstance(plain, ScaleShift) and plain.norm is None and plain.scale.size == plain.shift.size == 1


def outer_obstacle(op: Op, affine: Affine) -> Obstacle | None:
    """What keeps `op` from applying the map to its output, in the axes of that output."""
    match op.detail:
        case Conv() | Linear() as layer:
            place = channels_of(layer, rank(affine), out=True)
            return _along(op, layer, affine, place) or _outer_parameters(op, layer, affine)
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
        case Conv() | Linear() as layer:
            along = _along(op, layer, affine, channels_of(layer, rank(affine), out=False))
            return along or _at_the_border(op, layer, affine) or _inner_parameters(op, layer, affine)
        case Norm(scale=None):
            return blocked(op, "{op} normalizes whatever comes in")
        case Norm() as norm:
            return _norm_obstacle(op, norm, affine)
        case ScaleShift() as plain:
            return _scale_shift_obstacle(op, plain, affine)
    return blocked(op, "{op} has no weights to take it up")


def channels_of(layer: Conv | Linear, rank: int, *, out: bool) -> tuple[int, int] | None:
    """The axis of its channels in data of this rank, and how many there are.

    None where rank, weight, groups and bias do not fit each other.
    """
    shape = layer.weight.shape
    if len(shape) < 2:
        return None
    if isinstance(layer, Linear):
        across = layer.bias.shape[layer.channel_axis :][:1] if layer.bias else ()
        axis = layer.channel_axis if out else layer.input_axis
        fits = rank >= -axis and set(across) <= {1, shape[layer.out_axis]}
        return (rank + axis, shape[layer.out_axis if out else layer.in_axis]) if fits else None
    if layer.groups < 1 or shape[0] % layer.groups:
        return None
    first, second = shape[0], shape[1] * layer.groups
    before, after = (first, second) if layer.transposed else (second, first)
    axis = rank - len(shape) + 1
    fits = axis in (0, 1) and (layer.bias is None or layer.bias.shape == (after,))
    return (axis, after if out else before) if fits else None


def norm_axes(norm: Norm, rank: int) -> tuple[int, ...] | None:
    """The axes of the data along which gamma and beta run; None where they do not fit."""
    if norm.layer.kind in ("layer_norm", "rms_norm"):
        features = len(norm.gamma.shape) if norm.gamma else 0
        return tuple(range(rank - features, rank)) if features <= rank else None
    return (norm.axis % rank,) if -rank <= norm.axis < rank else None


def _along(op: Op, layer: Conv | Linear, affine: Affine, place: tuple[int, int] | None) -> Obstacle | None:
    """It may vary along the axis of the channels, and from matrix to matrix of a batch, and must fit these."""
    if place is None:
        return blocked(op, "its channels do not fit those of {op}")
    axis, size = place
    sizes = {axis: size, **(_batch(layer, rank(affine)) if isinstance(layer, Linear) else {})}
    if set(varying(affine)) - sizes.keys():
        return blocked(op, "its channels do not lie along those of {op}")
    fits = all(length(affine, each) in (1, known) for each, known in sizes.items())
    return None if fits else blocked(op, "its channels do not fit those of {op}")


def _batch(layer: Linear, rank: int) -> dict[int, int]:
    """The axes of the data along which a batch of matrices lies, and how many there are."""
    lead = layer.weight.shape[:-2]
    return {rank - 2 - len(lead) + place: count for place, count in enumerate(lead) if count > 1}


def _outer_parameters(op: Op, layer: Conv | Linear, affine: Affine) -> Obstacle | None:
    weight = _fixed(op, layer.weight, "weight") if scales(affine) else None
    return weight or (_fixed(op, layer.bias, "bias") if layer.bias else None)


def _inner_parameters(op: Op, layer: Conv | Linear, affine: Affine) -> Obstacle | None:
    weight = _fixed(op, layer.weight, "weight")
    biased = layer.bias and (shifts(affine) or getattr(layer, "beta", 1.0) != 1.0)
    return weight or (_fixed(op, layer.bias, "bias") if layer.bias and biased else None)


def _at_the_border(op: Op, layer: Conv | Linear, affine: Affine) -> Obstacle | None:
    """A constant that is added to the input is not added to the zeros around it."""
    if isinstance(layer, Linear) or not shifts(affine):
        return None
    if layer.transposed:
        return blocked(op, "{op} is transposed: its shift would not be the same at the border", shift_only=True)
    return blocked(op, "{op} pads with zeros, and its shift is not zero", shift_only=True) if layer.padded else None


def _norm_obstacle(op: Op, norm: Norm, affine: Affine) -> Obstacle | None:
    """Gamma must be there; beta may be added, except to what has none by definition."""
    if norm.obstacle:
        return blocked(op, f"{{op}} does not take it up: {norm.obstacle}")
    if norm.gamma is None or (norm.beta is None and norm.scale is not None):
        return blocked(op, "{op} has no gamma and beta to take it up")
    if norm.beta is None and shifts(affine) and norm.layer.kind == "rms_norm":
        return blocked(op, "{op} has no beta to absorb its shift", shift_only=True)
    axes = norm_axes(norm, rank(affine)) or ()
    own = norm.gamma.shape if norm.scale is None else norm.scale.shape
    if len(axes) != len(own) or norm.gamma.shape != own or set(varying(affine)) - set(axes):
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
    """Whether a constant that takes it keeps its sizes, or grows along axes where it had but one number."""
    wide = (1,) * (rank(affine) - len(shape)) + shape
    fits = len(wide) == rank(affine) and all(size == 1 or length(affine, i) in (1, size) for i, size in enumerate(wide))
    return None if fits else blocked(op, "its channels do not fit those of {op}")


def _fixed(op: Op, parameter: Parameter, word: str) -> Obstacle | None:
    why = parameter.obstacle or (None if parameter.dtype in FLOATS else f"is stored as {parameter.dtype}")
    return blocked(op, f"the {word} of {{op}} {why}") if why else None
