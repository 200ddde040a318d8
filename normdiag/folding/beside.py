"""A norm beside a convolution that reads the same tensor, where both are added: the convolution absorbs it.

y = conv(x) + a x + b: what a norm adds to each position is a convolution whose kernel has a single tap, so that a goes
into the tap of the other that reads the same position, and b into its bias (Ding et al. 2021, 'RepVGG: making VGG-style
ConvNets great again', section 3.3). The zeros around the input do not matter: that tap never reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normdiag.folding.affine import length, rank, varying
from normdiag.folding.layout import tap
from normdiag.folding.situation import Situation
from normdiag.folding.targets import FLOATS, channels_of, is_number
from normdiag.records import Add, Affine, Beside, Conv, Op, Pass, ScaleShift


@dataclass(frozen=True)
class FoundBeside:
    """What becomes of the norm, and whether the convolution gets plus or minus what it does."""

    sign: int
    beside: Beside


@dataclass(frozen=True)
class _Path:
    """A tensor with the sign with which another is part of it, or it of another, and the tensors between the two."""

    tensor: str
    sign: int = 1
    between: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Term:
    """A sum, the place of the tensor among its terms, the way to it, and ops on that way that only hand it on."""

    index: int
    place: int
    path: _Path
    passed: tuple[int, ...]


def find_beside(situation: Situation, source: int, affine: Affine) -> FoundBeside | None:
    """Where the norm at `source`, which does `affine`, is added to what a convolution makes of the same tensor."""
    origin, first = _origin(situation, situation.op(source).inputs[0]), None
    for term in _terms(situation, situation.op(source).outputs[0]):
        op = situation.op(term.index)
        if first is None and term.index in situation.shortened:
            if len(op.inputs) > 2:
                return None
            continue
        if first is None and not _can_lose(situation, op, term.place):
            return None
        first = first or term
        for other in _branches(situation, op, term.place):
            layer, end = _convolution(situation, other, origin, affine, source)
            if layer is not None:
                between = (*term.path.between, *end.between)
                beside = Beside(layer, first.index, first.place, term.index, first.passed, between)
                return FoundBeside(term.path.sign * end.sign, beside)
    return None


def _terms(situation: Situation, tensor: str) -> Iterator[_Term]:
    """The sums that a tensor goes into, one after the other, as long as nobody else reads what lies between."""
    passed: tuple[int, ...] = ()
    path = _Path(tensor)
    while _alone(situation, path.tensor) and not situation.spent(0):
        index = situation.readers[path.tensor][0]
        op, between = situation.op(index), (*path.between, path.tensor)
        if isinstance(op.detail, Add):
            place = op.inputs.index(path.tensor)
            path = _Path(op.outputs[0], path.sign * op.detail.signs[place], between)
            yield _Term(index, place, path, passed)
        elif _hands_on(situation, index):
            passed = passed if index in situation.gone else (*passed, index)
            path = _Path(op.outputs[0], path.sign, between)
        else:
            return


def _branches(situation: Situation, op: Op, without: int | None = None) -> Iterator[_Path]:
    """What a sum adds, but for the term at one place."""
    assert isinstance(op.detail, Add)
    for place, (name, sign) in enumerate(zip(op.inputs, op.detail.signs, strict=True)):
        if place != without and name in situation.producers:
            yield _Path(name, sign)


def _convolution(
    situation: Situation, path: _Path, origin: str, affine: Affine, source: int
) -> tuple[int | None, _Path]:
    """The first convolution of `origin` among what a tensor is the sum of, and the way to it; None if there is none."""
    waiting = [path]
    while waiting and not situation.spent(0):
        path = waiting.pop(0)
        if path.tensor not in situation.producers or not _alone(situation, path.tensor):
            continue
        index = situation.producers[path.tensor]
        op, between = situation.op(index), (*path.between, path.tensor)
        if isinstance(op.detail, Conv):
            same = _origin(situation, op.inputs[0]) == origin
            if same and _fits(op.detail, affine) and (source, index) not in situation.barred:
                return index, _Path(path.tensor, path.sign, between)
        elif isinstance(op.detail, Add):
            waiting += [_Path(each.tensor, path.sign * each.sign, between) for each in _branches(situation, op)]
        elif _hands_on(situation, index):
            waiting.append(_Path(op.inputs[0], path.sign, between))
    return None, path


def _alone(situation: Situation, tensor: str) -> bool:
    """Whether one op reads a tensor, once, and nobody minds when its values change."""
    fixed = tensor in situation.outputs or tensor in situation.graph.pinned
    floating = situation.graph.dtypes.get(tensor, "float32") in FLOATS
    return len(situation.readers[tensor]) == 1 and not fixed and floating


def _can_lose(situation: Situation, op: Op, place: int) -> bool:
    """Whether a sum can do without one of its terms: what is left has its size and its sign."""
    assert isinstance(op.detail, Add)
    rest = [index for index in range(len(op.inputs)) if index != place]
    sizes = situation.graph.sizes
    whole = [sizes.get(op.inputs[index]) == sizes.get(op.outputs[0]) for index in rest]
    return len(op.nodes) == 1 and op.detail.signs[rest[0]] == 1 and all(whole) and op.outputs[0] in sizes


def _hands_on(situation: Situation, index: int) -> bool:
    """Whether an op gives what it gets: identity, a norm that is gone, x + 0."""
    op = situation.op(index)
    if index in situation.gone or isinstance(op.detail, Pass):
        return True
    plain = op.detail
    return is_number(op) and isinstance(plain, ScaleShift) and bool(plain.scale == 1) and bool(plain.shift == 0)


def _origin(situation: Situation, tensor: str) -> str:
    """The tensor whose values it has."""
    while tensor in situation.producers and _hands_on(situation, situation.producers[tensor]):
        tensor = situation.op(situation.producers[tensor]).inputs[0]
    return tensor


def _fits(layer: Conv, affine: Affine) -> bool:
    """Whether a convolution gives each position what the norm gives it, and has parameters that may change."""
    inward, outward = (channels_of(layer, rank(affine), out=out) for out in (False, True))
    if inward is None or inward != outward or tap(layer) is None:
        return False
    axis, size = inward
    free = [each.obstacle is None and each.dtype in FLOATS for each in (layer.weight, layer.bias) if each]
    return all(free) and set(varying(affine)) <= {axis} and length(affine, axis) in (1, size)
