"""What data is read from: files, or batches that a Python caller passed, as they come or with their first kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from normdiag.data import DataOptions, SourceInfo
from normdiag.data.items import as_batches
from normdiag.data.source import DataSource, open_data
from normdiag.records import Batch, BatchForm, Model

# Enough to measure a layer on that only the exported graph shows.
FIRST = 64


@dataclass(frozen=True, eq=False)
class GivenBatches:
    """Batches that a Python caller passed, as a source."""

    batches: Any
    options: DataOptions
    form: BatchForm = field(default_factory=BatchForm)

    @property
    def info(self) -> SourceInfo:
        """That nothing is known of it beforehand."""
        return SourceInfo("python")

    def __iter__(self) -> Iterator[Batch]:
        options = self.options
        seed = options.seed if options.shuffled else None
        size = options.batch_size
        return as_batches(self.batches, max_samples=options.max_samples, batch_size=size, seed=seed, form=self.form)


@dataclass(frozen=True, eq=False)
class Streaming:
    """A source whose samples follow on each other, each with the states that it finds in the model."""

    source: DataSource | GivenBatches
    model: Model

    @property
    def info(self) -> SourceInfo:
        """What is known of the source."""
        return self.source.info

    def __iter__(self) -> Iterator[Batch]:
        from normdiag.observe.onnx.states import with_states

        return with_states(self.model.program, self.source, self.model.info.path or "the model")


@dataclass(eq=False)
class Remembering:
    """A source of which the first samples stay known after it was read."""

    source: DataSource | GivenBatches | Streaming
    first: Batch | None = None

    @property
    def info(self) -> SourceInfo:
        """What is known of the source."""
        return self.source.info

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.source:
            if self.first is None:
                self.first = batch.rows(slice(0, FIRST))
            yield batch


Source = DataSource | GivenBatches | Streaming | Remembering


def open_source(
    model: Model, batches: Iterable[Any] | None, data: Sequence[str], options: DataOptions
) -> DataSource | GivenBatches | Streaming:
    """The caller's batches or, without any, what the data specifications name."""
    form = _form(model)
    if _streams(model):
        options = replace(options, shuffled=False)
    given = GivenBatches(batches, options, form) if batches is not None else None
    source = given or open_data(data, options, model.inputs, form)
    return Streaming(source, model) if _streams(model) else source


def _streams(model: Model) -> bool:
    return model.info.backend == "onnx" and model.program is not None and bool(model.program.feeding.fed_back)


def _form(model: Model) -> BatchForm:
    """What the model takes of a batch that is a tuple."""
    if model.info.backend == "pytorch" and model.program is not None:
        from normdiag.models.pytorch.forward_form import forward_form

        return forward_form(model.program)
    others = model.program.feeding.others if model.program is not None else ()
    return BatchForm(max(len(model.inputs), 1), tuple(spec.name for spec in model.inputs), others=others)


def first_batches(batches: Iterable[Batch], samples: int) -> Iterator[Batch]:
    """The first batches, until they hold that many samples."""
    seen = 0
    for batch in batches:
        yield batch
        seen += batch.size
        if seen >= samples:
            return
