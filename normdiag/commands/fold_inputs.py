"""What original and folded model are run on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import tee
from typing import Any

from normdiag.commands.feeding import as_graph_inputs, with_feeding
from normdiag.commands.sources import Source, open_source
from normdiag.data import DataOptions
from normdiag.errors import InputError
from normdiag.folding.backend import Foldable
from normdiag.folding.feeds import TrialFeed, given, made_up
from normdiag.observe.passes import of_size
from normdiag.records import Batch, Feeding, InputSpec, Model


@dataclass(frozen=True, eq=False)
class FoldInputs:
    """What the models are run on: the caller's batches, data specifications, or made-up inputs."""

    batches: Iterable[Any] | None = None
    data: Sequence[str] = ()
    options: DataOptions = field(default_factory=DataOptions)

    @property
    def chosen(self) -> bool:
        """Whether the user gave any."""
        return self.batches is not None or bool(self.data)

    def open(self, model: Model, *, peek: bool = False) -> Source:
        """All of them. To `peek` takes nothing away from who opens them next, also where they come only once."""
        batches = copy(self._batches) if peek and isinstance(self._batches, Iterator) else self._batches
        return open_source(model, batches, self.data or ("random",), self.options)

    @cached_property
    def _batches(self) -> Iterable[Any] | None:
        """A generator as one that can be copied where it stands."""
        return tee(self.batches, 1)[0] if isinstance(self.batches, Iterator) else self.batches


def example_of(model: Model, inputs: FoldInputs) -> Batch:
    """The first batch of the data, or a made-up one of the shapes that the user or the model gives."""
    source = inputs.open(model, peek=True)
    batch = next(iter(source), None)
    if batch is None:
        raise InputError(f"{source.info.source}: holds no samples")
    return batch


def feeds_of(foldable: Foldable, inputs: FoldInputs) -> TrialFeed | Sequence[TrialFeed]:
    """The user's data, or seeded inputs of the shapes that the model takes, one feed for each guess of these."""
    if not inputs.chosen and not inputs.options.constants:
        return made_up(foldable.inputs, inputs.options, foldable.graph)
    fed = with_feeding(_runnable(foldable), inputs.options, inputs.data, code=inputs.batches is not None)
    feeding = Feeding() if fed.program is None else fed.program.feeding
    if not inputs.chosen:
        return made_up(foldable.inputs, inputs.options, foldable.graph, feeding.constants)
    source = inputs.open(fed)
    batches = of_size(source, _only_size(fed.inputs))
    note = "; ".join(fed.info.notes[len(foldable.info.notes) :]) or None
    return given(as_graph_inputs(fed, batches) if feeding.others or feeding.axes else batches, source.info.source, note)


def _only_size(inputs: Sequence[InputSpec]) -> int | None:
    """The number of samples that the graph runs on, where it declares one; None where it is free."""
    return next((spec.shape[0] for spec in inputs if spec.shape), None)


def _runnable(foldable: Foldable) -> Model:
    """What data is read for: an ONNX file with its program, which has inputs that no sample is fed to."""
    if foldable.info.backend != "onnx":
        return Model(foldable.info, (), foldable.inputs)
    from normdiag.folding.onnx import OnnxFoldable

    assert isinstance(foldable, OnnxFoldable)  # the one that folds what this backend reads
    return Model(foldable.info, (), foldable.inputs, foldable.program)
