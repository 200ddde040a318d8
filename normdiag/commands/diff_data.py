"""Two models on the same batches: where they part, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from normdiag.commands.example import RANDOM, with_made_up_inputs
from normdiag.commands.feeding import with_feeding
from normdiag.commands.sources import open_source
from normdiag.commands.traced import open_traced
from normdiag.comparison.causes import PartingEvidence, Side, cause_of
from normdiag.comparison.parting import ApartSums, RoundingBounds, first_parting, rounding_bounds, roundoff_of
from normdiag.comparison.places import Place, PlacePair, absorbed, pair_places, places_of
from normdiag.comparison.traced import TracedModel, Values
from normdiag.data import DataOptions
from normdiag.errors import InputError
from normdiag.folding.bound import coarsest
from normdiag.records import Batch, Conv, InputSpec, Linear, Model, Op
from normdiag.records.diff import ComparedOnData, LayerDifference, Parting, PartingCause, PlaceApart
from normdiag.records.model import Array

Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True, eq=False)
class DataGiven:
    """What both models are run on, as for `inspect`."""

    batches: Iterable[Any] | None
    data: Sequence[str]
    options: DataOptions


@dataclass(frozen=True, eq=False)
class _Both:
    """Both models and their pairs of places; `outputs` pairs those of the models by their order."""

    a: TracedModel
    b: TracedModel
    pairs: tuple[PlacePair, ...]
    outputs: tuple[tuple[str, str], ...]
    bounds: RoundingBounds
    tolerance: float | None

    def bound(self, a: str, b: str) -> float:
        """What may be apart at these tensors."""
        return self.bounds.of(a, b) if self.tolerance is None else self.tolerance

    @property
    def tensors_a(self) -> list[str]:
        """What is asked of A."""
        return [*(pair.a.tensor for pair in self.pairs), *(a for a, _ in self.outputs)]

    @property
    def tensors_b(self) -> list[str]:
        """What is asked of B."""
        return [*(pair.b.tensor for pair in self.pairs), *(b for _, b in self.outputs)]


def compare_on_data(
    a: Model,
    b: Model,
    given: DataGiven,
    layers: tuple[LayerDifference, ...],
    *,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> ComparedOnData:
    """Run both on all batches of one size, and look into the layer where they part.

    Raises InputError for a model that cannot be run or exported, and for data that does not fit both.
    """
    a, b = _fed(_runnable(a), _runnable(b), given)
    declared = _declared(a, b, given)
    source = open_source(declared, given.batches, given.data, _with_fixed_size(given.options, a, b))
    batches = iter(source)
    first = next(batches, None)
    if first is None:
        raise InputError(f"{source.info.source}: holds no samples")
    traced_a, traced_b = open_traced(a, first), open_traced(b, first)
    both = _paired(traced_a, traced_b, first, tolerance)
    sums = [ApartSums() for _ in (*both.pairs, *both.outputs)]
    samples, changed = 0, list[Array]()
    for batch in chain([first], (each for each in batches if each.size == first.size)):
        changed.append(_add(sums, both, batch))
        samples += batch.size
        if progress is not None:
            progress(samples, source.info.total)
    places = [_apart(pair, each, both) for pair, each in zip(both.pairs, sums, strict=False)]
    outputs = [
        PlaceApart(one, two, "order", "output", each.largest, each.rms, both.bound(one, two))
        for (one, two), each in zip(both.outputs, sums[len(places) :], strict=True)
    ]
    compared = ComparedOnData(
        source.info.source,
        samples,
        first.size,
        source.info.random,
        tuple(places),
        tuple(outputs),
        answers_changed=float(np.mean(np.concatenate(changed))) if all(each.size for each in changed) else None,
    )
    if compared.agree:
        return compared
    at = first_parting(both.pairs, [each.departs for each in places], traced_a.graph)
    return compared if at is None else replace(compared, parting=_looked_into(both, at, first, layers))


def _runnable(model: Model) -> Model:
    if model.program is None:
        raise InputError(f"{model.info.path}: cannot be run: {model.why_not_run}")
    return model


def _fed(a: Model, b: Model, given: DataGiven) -> tuple[Model, Model]:
    """Both, with what of their inputs is no sample. Raises UsageError for options on such inputs without any."""
    fed = [
        with_feeding(each, given.options, given.data, code=given.batches is not None)
        if each.info.backend == "onnx" or a.info.backend == b.info.backend
        else each
        for each in (a, b)
    ]
    return fed[0], fed[1]


def _declared(a: Model, b: Model, given: DataGiven) -> Model:
    """The model that says what is fed: the one that declares inputs, else A with made-up ones for random data."""
    declaring = next((each for each in (a, b) if each.inputs), a)
    if not declaring.inputs and tuple(given.data) == RANDOM and not given.options.input_shapes:
        return with_made_up_inputs(declaring)
    return declaring


def _with_fixed_size(options: DataOptions, *models: Model) -> DataOptions:
    """With the number of samples that a model was exported for, where it runs on no other."""
    specs = [spec for model in models for spec in (model.inputs or model.suggested)]
    fixed = {spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None}
    if len(fixed) > 1:
        raise InputError(
            f"the models run on {' and '.join(map(str, sorted(fixed)))} samples at a time: export them alike"
        )
    return replace(options, batch_size=fixed.pop()) if fixed else options


def _paired(a: TracedModel, b: TracedModel, first: Batch, tolerance: float | None) -> _Both:
    """The places of both, paired on the first batch, and what rounding explains at each."""
    places_a, places_b = places_of(a.graph, a.present), places_of(b.graph, b.present)
    outputs = _outputs(a, b)
    values_a = a.run(_fitted(first, a.inputs), [*_tensors(places_a), *(name for name, _ in outputs)])
    values_b = b.run(_fitted(first, b.inputs), _tensors(places_b))
    kept_a = absorbed(places_a, a.graph, places_b, values_a, values_b)
    kept_b = absorbed(places_b, b.graph, places_a, values_b, values_a)
    pairs = pair_places(kept_a, kept_b, values_a, values_b)
    nudged = _nudged(first, roundoff_of(a.graph, b.graph))
    moved_a, moved_b = _response(a, nudged, values_a), _response(b, nudged, values_b)
    # Where one of the two is the steadier, it is the other that loses digits.
    steady = {pair.a.tensor: min(moved_a[pair.a.tensor], moved_b[pair.b.tensor]) for pair in pairs}
    response = moved_a | steady
    return _Both(a, b, pairs, outputs, rounding_bounds(a.graph, b.graph, response), tolerance)


def _tensors(places: Sequence[Place]) -> list[str]:
    return [place.tensor for place in places]


def _outputs(a: TracedModel, b: TracedModel) -> tuple[tuple[str, str], ...]:
    """Outputs by name where both have the same names, else by order."""
    one, two = ([name for name in each.graph.outputs if name in each.present] for each in (a, b))
    if not one or not two:
        raise InputError("one of the models has no output that could be compared")
    return tuple((name, name) for name in one) if set(one) == set(two) else tuple(zip(one, two, strict=False))


def _fitted(batch: Batch, inputs: Sequence[InputSpec]) -> Batch:
    """The batch with its arrays by the names of these inputs, or by position where it has others."""
    names = {spec.name for spec in inputs}
    return batch if batch.names is None or set(batch.names) == names else replace(batch, names=None)


def _nudged(batch: Batch, roundoff: float) -> Batch:
    """Floating-point inputs as they are after one more rounding, up or down at random."""
    rng = np.random.default_rng(0)
    arrays = tuple(
        (each * (1 + roundoff * rng.choice([-1.0, 1.0], each.shape))).astype(each.dtype)
        if each.dtype.kind == "f"
        else each
        for each in batch.arrays
    )
    return replace(batch, arrays=arrays)


def _response(model: TracedModel, nudged: Batch, values: Values) -> dict[str, float]:
    """How far each tensor moves when the input is rounded once more, relative to its largest value."""
    after = model.run(_fitted(nudged, model.inputs), list(values))
    return {name: _moved(values[name], after[name]) for name in values}


def _moved(before: Array, after: Array) -> float:
    sums = ApartSums()
    sums.add(before, after)
    return sums.largest if np.isfinite(sums.largest) else 0.0


def _add(sums: Sequence[ApartSums], both: _Both, batch: Batch) -> Array:
    """Count one batch; returns for each sample whether its answer is another, empty where outputs are no classes."""
    values_a = both.a.run(_fitted(batch, both.a.inputs), both.tensors_a)
    values_b = both.b.run(_fitted(batch, both.b.inputs), both.tensors_b)
    for each, one, two in zip(sums, both.tensors_a, both.tensors_b, strict=True):
        if one in values_a and two in values_b:
            each.add(values_a[one], values_b[two])
    answer_a, answer_b = values_a.get(both.outputs[0][0]), values_b.get(both.outputs[0][1])
    if answer_a is None or answer_b is None or answer_a.ndim != 2 or answer_a.shape != answer_b.shape:
        return np.zeros(0)
    return np.asarray(answer_a.argmax(1) != answer_b.argmax(1), np.float64)


def _apart(pair: PlacePair, sums: ApartSums, both: _Both) -> PlaceApart:
    bound = both.bound(pair.a.tensor, pair.b.tensor)
    return PlaceApart(pair.a.op.name, pair.b.op.name, pair.by, pair.a.op.kind, sums.largest, sums.rms, bound)


def _looked_into(both: _Both, at: int, first: Batch, layers: tuple[LayerDifference, ...]) -> Parting:
    pair = both.pairs[at]
    return Parting(
        pair.a.op.name,
        pair.b.op.name,
        pair.a.op.kind,
        _share(both, pair, first),
        _cause(both, pair, first, layers),
    )


def _share(both: _Both, pair: PlacePair, batch: Batch) -> float | None:
    """How much of the difference of the outputs goes when A's values stand in B after this layer."""
    names_a, names_b = ([each[i] for each in both.outputs] for i in (0, 1))
    if pair.b.tensor in names_b:
        return 1.0
    a = both.a.run(_fitted(batch, both.a.inputs), [*names_a, pair.a.tensor])
    fed = _fitted(batch, both.b.inputs)
    before = both.b.run(fed, [*names_b, pair.b.tensor])
    own = before[pair.b.tensor]
    given = a[pair.a.tensor].astype(own.dtype).reshape(own.shape)
    after = both.b.run(fed, names_b, {pair.b.tensor: given})
    left, whole = (_total(a, each, both.outputs) for each in (after, before))
    return max(0.0, 1.0 - left / whole) if whole > 0 and np.isfinite(whole) and np.isfinite(left) else None


def _total(a: Values, b: Values, outputs: Sequence[tuple[str, str]]) -> float:
    """Root mean square of all differences of the outputs."""
    squares = [
        float(np.sum((b[two].astype(np.float64).reshape(-1) - a[one].astype(np.float64).reshape(-1)) ** 2))
        for one, two in outputs
        if one in a and two in b and a[one].size == b[two].size
    ]
    return float(np.sqrt(sum(squares)))


def _cause(both: _Both, pair: PlacePair, batch: Batch, layers: tuple[LayerDifference, ...]) -> PartingCause | None:
    a = _side("A", both.a, pair.a, batch)
    b = _side("B", both.b, pair.b, batch)
    names = {pair.a.op.name, pair.b.op.name, pair.a.name, pair.b.name}
    stored = next((each for each in layers if {each.a, each.b} & names), None)
    rounding = both.bounds.of(pair.a.tensor, pair.b.tensor)
    return cause_of(PartingEvidence(a, b, stored, layers, rounding))


def _side(letter: Any, model: TracedModel, place: Place, batch: Batch) -> Side:
    """The layer on one batch, in float64."""
    source = next((name for name in place.op.inputs if name in model.present), None)
    wanted = [place.tensor, *([source] if source is not None else [])]
    values = model.run(_fitted(batch, model.inputs), wanted)
    y = values[place.tensor]
    x = None if source is None else values.get(source)
    return Side(
        letter,
        place.op,
        None if x is None else x.astype(np.float64),
        y.astype(np.float64),
        y.dtype.name,
        batch.arrays[0].astype(np.float64),
        coarsest(model.graph),
        _is_quantized(place.op),
    )


def _is_quantized(op: Op) -> bool:
    weight = op.detail.weight if isinstance(op.detail, Conv | Linear) else None
    return (
        "Integer" in op.operator
        or "QLinear" in op.operator
        or (weight is not None and "quantized" in str(weight.obstacle))
    )
