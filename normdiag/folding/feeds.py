"""What original and folded are run on: the user's data, or seeded inputs where there is none.

Made-up inputs are standard normal, what a network sees after the usual preprocessing, in three magnitudes: at 10 the
scales dominate and saturating activations reach their ends; at 0.1 the shifts do. Beside single samples of each there
is a batch of eight, and one run with a mean of 1 and, where the model leaves sizes free, another shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normdiag.data.feed import check_batch_bytes
from normdiag.data.noise import draw, spawn, with_shapes
from normdiag.data.options import DataOptions
from normdiag.data.preprocess import numpy_dtype
from normdiag.errors import UsageError
from normdiag.records import Batch, Conv, InputSpec, Linear, Norm, OpGraph
from normdiag.records.model import Array

MAGNITUDES = (1.0, 10.0, 0.1)
# What is taken one by one where the original overflows, or is in rounding noise, on all of those: magnitude, mean, and
# the side of the patches of equal values that images are made of.
SPARE = ((0.3, 0.0, 1), (1.0, 0.0, 8), (0.25, 0.5, 8), (0.25, 0.5, 1), (3.0, 0.0, 8), (0.03, 0.0, 1))
SAMPLES = 8
DATA = "data"

# What a free dimension is tried with, by the rank of the input. Image networks that pool often need more than 64, those
# that read lines of text a height of 32; 16000 is a second of speech.
TRIED = {1: (16, 128), 2: (16, 128, 16000), 3: (16, 128, 16000), 4: (64, 224, 32), 5: (16, 64)}
CHANNELS = 3


@dataclass(frozen=True, eq=False)
class FoldTrial:
    """One input to run both models on. Trials of a `group` are alike, and their outputs share one scale.

    An `optional` one is left out where the original cannot run on it, as where a size is free in name only.
    """

    batch: Batch
    group: str
    magnitude: float | None = None
    optional: bool = False


@dataclass(frozen=True, eq=False)
class TrialFeed:
    """Inputs, read anew each time they are iterated where that can be.

    `samples` are small and are looked at inside the models, group after group, as many of each group as are needed; of
    `batches` only the outputs are compared. Where there are no samples they are cut from the first batch. `made_up`:
    nobody chose these inputs. `spare` are further samples for where those before show nothing. `note` says what was
    taken for granted.
    """

    source: str
    batches: Iterable[FoldTrial]
    samples: Iterable[FoldTrial] = ()
    made_up: bool = False
    note: str | None = None
    spare: Iterable[FoldTrial] = ()


def given(batches: Iterable[Batch], source: str = "the data", note: str | None = None) -> TrialFeed:
    """The user's data, one trial for each batch."""
    return TrialFeed(source, (FoldTrial(batch, DATA) for batch in batches), note=note)


def made_up(
    inputs: Sequence[InputSpec], options: DataOptions, graph: OpGraph, constants: Mapping[str, Array] | None = None
) -> tuple[TrialFeed, ...]:
    """Seeded inputs that fit what the model declares: one feed for each guess of its free sizes, to be tried in order.

    Declared sizes and `options.input_shapes` are used as they are, a declared first axis too. Inputs among `constants`
    get these values. Each input is drawn from
    `options.seed`. Raises UsageError where the rank of an input is unknown, InputError for a batch that fits no memory.
    """
    if not inputs and not options.input_shapes:
        raise UsageError(
            "the model does not say what it takes: give the shape of one sample with --input-shape, or data with --data"
        )
    fixed = constants or {}
    drawn = [spec for spec in inputs if spec.name not in fixed]
    specs = _with_channels(with_shapes(drawn, options.input_shapes), graph)
    unknown = [spec.name for spec in specs if spec.shape is None]
    if unknown:
        raise UsageError(
            f"the model does not say the shape of its input {unknown[0]!r}: "
            f"give that of one sample with --input-shape {unknown[0]}=3,224,224, or data with --data"
        )
    guesses = max(len(TRIED.get(len(spec.shape or ()), (16,))) if _free(spec) else 1 for spec in specs)
    return tuple(
        _feed([_guessed(spec, index) for spec in specs], specs, options.seed, fixed) for index in range(guesses)
    )


def _feed(
    specs: Sequence[InputSpec], declared: Sequence[InputSpec], seed: int, fixed: Mapping[str, Array]
) -> TrialFeed:
    """`specs` have every size known but the first ones; `declared` say which others were free."""
    for spec in specs:
        shape = _sized(spec, SAMPLES)
        check_batch_bytes(f"input {spec.name!r}", (1, *shape), _dtype(spec), 1)
    samples = _Seeded(_samples(tuple(specs)), seed, fixed)
    batches = _Seeded(_batches(specs, declared), seed + 1, fixed)
    note = "; ".join(filter(None, (_taken(a, b) for a, b in zip(specs, declared, strict=True))))
    spare = _Seeded(tuple(_Plan(tuple(specs), 1, *each) for each in SPARE), seed + 2, fixed)
    return TrialFeed("seeded random inputs", batches, samples, True, note or None, spare)


@dataclass(frozen=True)
class _Plan:
    specs: tuple[InputSpec, ...]
    size: int
    magnitude: float
    offset: float = 0.0
    patch: int = 1

    @property
    def group(self) -> str:
        """What is like it."""
        return f"magnitude {self.magnitude:g}" + (f", patches of {self.patch}" if self.patch > 1 else "")


@dataclass(frozen=True)
class _Seeded:
    """Draws each planned trial when it is asked for."""

    plans: tuple[_Plan, ...]
    seed: int
    fixed: Mapping[str, Array]

    def __iter__(self) -> Iterator[FoldTrial]:
        for plan, rng in zip(self.plans, spawn(len(self.plans), self.seed), strict=True):
            streams = rng.spawn(len(plan.specs))
            arrays = tuple(_values(spec, plan, each) for spec, each in zip(plan.specs, streams, strict=True))
            names = tuple(spec.name for spec in plan.specs)
            batch = Batch(arrays, names if all(names) else None, fixed=self.fixed)
            yield FoldTrial(batch, plan.group, plan.magnitude, optional=True)


def _samples(specs: tuple[InputSpec, ...]) -> tuple[_Plan, ...]:
    """Eight samples of each magnitude, one by one, or in batches of the declared size."""
    fixed = max((spec.shape[0] or 0 for spec in specs if spec.shape), default=0)
    times = SAMPLES if _any_number(specs) else math.ceil(SAMPLES / max(fixed, 1))
    return tuple(_Plan(specs, 1, magnitude) for magnitude in MAGNITUDES for _ in range(times))


def _batches(specs: Sequence[InputSpec], declared: Sequence[InputSpec]) -> tuple[_Plan, ...]:
    """A batch of eight where the model takes any number; and another shape, with a mean."""
    wider = tuple(_wider(a, b) for a, b in zip(specs, declared, strict=True))
    last = _Plan(wider, 1, MAGNITUDES[0], offset=1.0)
    return (_Plan(tuple(specs), SAMPLES, MAGNITUDES[0]), last) if _any_number(specs) else (last,)


def _any_number(specs: Sequence[InputSpec]) -> bool:
    return any(spec.shape is not None and spec.shape[:1] == (None,) for spec in specs)


def _values(spec: InputSpec, plan: _Plan, rng: np.random.Generator) -> Array:
    dtype = _dtype(spec)
    if spec.below and dtype.kind in "iu":
        return rng.integers(0, spec.below, _sized(spec, plan.size), dtype)
    values = _patches(draw(rng, dtype, _sized(spec, plan.size)), plan.patch)
    return values if dtype.kind in "biu" else (values * plan.magnitude + plan.offset).astype(dtype)


def _patches(values: Array, side: int) -> Array:
    """The same with one value in each patch of the positions, which are the axes after the channels."""
    for axis in range(2, values.ndim):
        places = np.arange(values.shape[axis]) // side * side
        values = values.take(places, axis)
    return values


def _sized(spec: InputSpec, size: int) -> tuple[int, ...]:
    """The shape with `size` samples where the first axis is free."""
    return tuple(size if n is None else n for n in spec.shape or ())


def _dtype(spec: InputSpec) -> np.dtype[Any]:
    return numpy_dtype(spec.dtype) or np.dtype(np.float32)


def _free(spec: InputSpec) -> tuple[int, ...]:
    """The axes after the first whose sizes are free."""
    return tuple(axis for axis, n in enumerate(spec.shape or ()) if axis and n is None)


def _guessed(spec: InputSpec, index: int) -> InputSpec:
    """Every free size but the first axis filled in with the guess number `index`, or the last there is."""
    shape = spec.shape or ()
    sizes = TRIED.get(len(shape), (16,))
    size = sizes[min(index, len(sizes) - 1)]
    return replace(spec, shape=tuple(size if axis in _free(spec) else n for axis, n in enumerate(shape)))


def _wider(spec: InputSpec, declared: InputSpec) -> InputSpec:
    """The last free size larger: by 32 for images, which networks halve up to five times, else by half."""
    if not _free(declared) or spec.shape is None:
        return spec
    axis = _free(declared)[-1]
    size = spec.shape[axis] or 1
    return replace(spec, shape=(*spec.shape[:axis], size + (32 if size >= 64 else size // 2), *spec.shape[axis + 1 :]))


def _taken(spec: InputSpec, declared: InputSpec) -> str | None:
    """What the reader must know of a shape that was guessed."""
    if not _free(declared):
        return None
    sizes = ", ".join("N" if n is None else str(n) for n in spec.shape or ())
    return f"the model leaves sizes of its input {spec.name!r} free; taken: ({sizes}) (--input-shape sets them)"


def _with_channels(specs: Sequence[InputSpec], graph: OpGraph) -> list[InputSpec]:
    """Free channel axes filled in from the first layer; 3 for images where that does not say."""
    known = _channels(graph)
    filled = []
    for position, spec in enumerate(specs):
        shape = list(spec.shape or ())
        name = spec.name or (graph.inputs[position] if position < len(graph.inputs) else "")
        for axis, size in known.get(name, {}).items():
            if len(shape) > 1 and -len(shape) < axis < len(shape) and axis and shape[axis] is None:
                shape[axis] = size
        if len(shape) == 4 and shape[1] is None and all(n not in (1, 3, 4) for n in shape[1:]):
            shape[1] = CHANNELS
        filled.append(replace(spec, shape=None if spec.shape is None else tuple(shape)))
    return filled


def _channels(graph: OpGraph) -> Mapping[str, Mapping[int, int]]:
    """For each input that a layer reads directly: the axis of its channels and their number."""
    found: dict[str, dict[int, int]] = {}
    for op in graph.ops:
        detail = op.detail
        for name in op.inputs:
            if name not in graph.inputs:
                continue
            if isinstance(detail, Conv):
                shape = detail.weight.shape
                found[name] = {1: shape[0] if detail.transposed else shape[1] * detail.groups}
            elif isinstance(detail, Linear):
                found[name] = {detail.input_axis: detail.weight.shape[detail.in_axis]}
            elif isinstance(detail, Norm) and detail.scale is not None:
                found[name] = {detail.axis: len(detail.scale)}
    return found
