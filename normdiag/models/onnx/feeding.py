"""Which inputs of an ONNX model are samples, which are states of its own, and which hold for every sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from normdiag.errors import UsageError
from normdiag.records import Feeding, InputSpec, StateInput, carries_state
from normdiag.wording import nearest

# What tells the name of a state that goes in from that of one that comes out: h and hn, state and stateN, x and x_out.
_SIDE = re.compile(
    r"^(?:new|next|prev|past|present|out|in)[._]|[._]?(?:out|in|new|next|prev|output|input)$|[._]?n$|_?0$",
    re.IGNORECASE,
)


def feeding_of(
    inputs: Sequence[InputSpec],
    outputs: Sequence[InputSpec],
    axes: Mapping[str, int],
    constants: Mapping[str, float],
    states: Mapping[str, str],
    given: Sequence[str] = (),
    *,
    code: bool = False,
) -> tuple[Feeding, tuple[InputSpec, ...]]:
    """How the inputs are fed, and those that the data is for, with their samples first.

    `axes`, `constants` and `states` (input by output) are what the user says. An input that is called as states are is
    one, and comes from the output of its name and shape; not so where it is among the names `given` by the data. With
    `code`, a batch may hold numbers and what has an axis of its own. Raises UsageError for names that the model has
    not, and for such inputs where nobody gives them.
    """
    known = {spec.name: spec for spec in inputs}
    _check_names([*axes, *constants, *states.values()], known, "input")
    _check_names(states, {spec.name: spec for spec in outputs}, "output")
    named = {into: out for out, into in states.items()}
    fed = [spec for spec in inputs if spec.name not in constants]
    called = [s.name for s in fed if len(fed) > 1 and s.name not in given and carries_state([s.name, ""])]
    held = [spec for spec in fed if spec.name in named or spec.name in called]
    data = [spec for spec in fed if spec not in held]
    if not data:
        raise UsageError(f"no input is left for the data: {', '.join(known)} are states or constants")
    whole = [spec for spec in data if _has_no_samples(spec, data[0], axes)] if code else []
    data = [spec for spec in data if spec not in whole]
    _check_scalars(data)
    samples = (data[0].shape or (None,))[axes.get(data[0].name, 0)]
    found = tuple(_state(spec, named.get(spec.name) or _comes_out(spec, outputs), samples, axes) for spec in held)
    moved = tuple(_samples_first(spec, axes.get(spec.name, 0)) for spec in data)
    _check_first(moved)
    filled = {name: np.full(_filled(known[name]), value).astype(known[name].dtype) for name, value in constants.items()}
    own = {name: axis for name, axis in axes.items() if name not in constants}
    return Feeding(own, filled, found, tuple(spec.name for spec in whole)), moved


def _has_no_samples(spec: InputSpec, first: InputSpec, axes: Mapping[str, int]) -> bool:
    """A number, or another size than the first input's where the samples would be."""
    if spec.shape == ():
        return True
    sizes = [(each.shape or (None,))[axes.get(each.name, 0)] for each in (spec, first) if each.shape != ()]
    return None not in sizes and len(set(sizes)) > 1


def _check_names(names: Iterable[str], known: Mapping[str, InputSpec], what: str) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"the model has no {what} {name!r}{nearest(name, known)}; it has {', '.join(known)}")


def _check_scalars(data: Sequence[InputSpec]) -> None:
    numbers = [spec.name for spec in data if spec.shape == ()]
    if numbers:
        options = " ".join(f"--const {name}=VALUE" for name in numbers)
        raise UsageError(f"the model takes a number that is no sample: give {options}")


def _check_first(data: Sequence[InputSpec]) -> None:
    """With `--data random` and with files alike, the first axes must be the samples."""
    first = {spec.name: spec.shape[0] for spec in data if spec.shape}
    sizes = {size for size in first.values() if size is not None}
    if len(sizes) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in first.items())
        raise UsageError(
            f"the inputs declare different sizes of the first axis ({listed}), which cannot be the samples: name the "
            "axis with --input-axis NAME=1, a value with --const NAME=0, or a state with --state OUTPUT=NAME"
        )


def _comes_out(spec: InputSpec, outputs: Sequence[InputSpec]) -> str | None:
    """The output that is the next value of a state: of its name and, where both are known, its shape."""
    fitting = [each for each in outputs if _alike(spec.shape, each.shape)]
    stem = _stem(spec.name)
    return next((each.name for each in fitting if _stem(each.name) == stem), None)


def _stem(name: str) -> str:
    return _SIDE.sub("", _SIDE.sub("", name)).lower() or name.lower()


def _alike(one: tuple[int | None, ...] | None, other: tuple[int | None, ...] | None) -> bool:
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _state(spec: InputSpec, output: str | None, samples: int | None, axes: Mapping[str, int]) -> StateInput:
    """The samples of a state are on the axis that is free, or as long as there are samples, as they are."""
    shape = spec.shape or ()
    axis = axes.get(spec.name, next((index for index, size in enumerate(shape) if size == samples), None))
    return StateInput(spec.name, output, spec.dtype, shape, axis)


def _samples_first(spec: InputSpec, axis: int) -> InputSpec:
    if not axis or spec.shape is None:
        return spec
    if axis >= len(spec.shape):
        raise UsageError(f"--input-axis {spec.name}={axis}: the input has {len(spec.shape)} axes, from 0 on")
    rest = (*spec.shape[:axis], *spec.shape[axis + 1 :])
    return replace(spec, shape=(spec.shape[axis], *rest))


def _filled(spec: InputSpec) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in spec.shape or ())
