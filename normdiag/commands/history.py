"""`normdiag.history`: the checkpoints of a training run, one after the other, on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.commands.checkpoints import Checkpoint, find_checkpoints
from normdiag.commands.example import RANDOM, with_made_up_inputs
from normdiag.commands.measure import measured_report, open_runner
from normdiag.commands.ready import with_ready_commands
from normdiag.commands.sources import first_batches, open_source
from normdiag.commands.traced import open_traced
from normdiag.comparison.traced import TracedModel
from normdiag.data import DataOptions
from normdiag.data.specs import as_specs
from normdiag.errors import InputError, UsageError
from normdiag.graph import open_model
from normdiag.metrics.percentiles import UnitPercentiles, moved, percentiles, some_positions
from normdiag.models import LoadOptions
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import ActivationMetrics, Batch, LayerMetrics, Model, Norm, Op, Report
from normdiag.records.history import HistoryPoint, HistoryStep
from normdiag.results.followed import HistoryResult
from normdiag.results.notebook import shows_progress

Progress = Callable[[int, "int | None"], None]
# Samples whose values are looked at for percentiles; sums are of all.
SAMPLES = 256
MADE_UP = "the data are made up: no number here describes real inputs"


@dataclass(frozen=True, eq=False)
class _Run:
    """What every checkpoint is run on, and how it is read."""

    batches: Any
    data: tuple[str, ...]
    options: DataOptions
    reading: LoadOptions
    device: str | None


@shows_progress("checkpoints")
def history(
    checkpoints: Sequence[str | Path],
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    every: int = 1,
    device: str | None = None,
    progress: Progress | None = None,
) -> HistoryResult:
    """What enters each norm and activation over the checkpoints of a training run, how it moves, drifts and saturates.

    `checkpoints` are model files of any format, Hugging Face folders, or folders of either, taken by the step in their
    names; one of each `every` is read, and the last. `batches` and `data` are as for `inspect`, and the same for all.
    One checkpoint is in memory at a time. `progress(done, total)` is called after each.

    Raises InputError for a checkpoint or data that cannot be used, UsageError for arguments that contradict each other.

    >>> import normdiag
    >>> files = ["sample_models/digits_mlp_batch_0100.pt", "sample_models/digits_mlp_batch_5000.pt"]
    >>> read = normdiag.LoadOptions(arch="sample_models/net.py:DigitsMLP", arch_args=("norm=batch",))
    >>> run = normdiag.history(files, data=["sample_models/digits.npz"], load_options=read)
    >>> [step.step for step in run.steps]
    [100, 5000]
    """
    if (batches is None) == (not data):
        raise UsageError("history runs every checkpoint on the same data: give --data, or batches")
    if every < 1:
        raise UsageError(f"--every must be at least 1, not {every}")
    found = find_checkpoints(checkpoints, every)
    kept = None if batches is None else batches if isinstance(batches, np.ndarray) else list(batches)
    run = _Run(kept, as_specs(data), data_options or DataOptions(), load_options or LoadOptions(), device)
    steps: list[HistoryStep] = []
    before: Mapping[str, UnitPercentiles] = {}
    source, samples, notes = "", 0, dict[str, None]()
    for done, checkpoint in enumerate(found, 1):
        step, before, report = _step(checkpoint, run, before)
        steps.append(step)
        if report.data is not None:
            source, samples = report.data.source, report.data.samples
            notes |= dict.fromkeys([*([MADE_UP] if report.data.random else []), *report.notes, *report.model.notes])
        if progress is not None:
            progress(done, len(found))
    return HistoryResult(tuple(steps), source, samples, tuple(notes))


def _step(
    checkpoint: Checkpoint, run: _Run, before: Mapping[str, UnitPercentiles]
) -> tuple[HistoryStep, Mapping[str, UnitPercentiles], Report]:
    model = _opened(checkpoint.path, run)
    source = open_source(model, run.batches, run.data, run.options)
    report = measured_report(model, open_runner(model, run.device, SATURATION_THRESHOLD), source, False, None)
    shapes = _percentiles(model, first_batches(source, SAMPLES))
    norms = {each.layer.name: each for each in report.layers}
    activations = {each.name: each for each in report.activations}
    points = tuple(
        _point(op, shape, before.get(op.name), norms.get(op.name), activations.get(op.name)) for op, shape in shapes
    )
    gap = None if report.gap is None else report.gap.relative_rms
    gradient = None if report.gradient is None else report.gradient.rms
    step = HistoryStep(str(checkpoint.path), checkpoint.step, points, gap, gradient)
    return step, {op.name: shape for op, shape in shapes}, report


def _opened(path: Path, run: _Run) -> Model:
    from normdiag.models.sniff import sniff

    reading = LoadOptions() if sniff(path) == "onnx" else run.reading
    model = open_model(path, reading, run=True)
    if model.program is None:
        told = with_ready_commands(model, "history", [word for each in run.data for word in ("--data", each)])
        raise InputError(f"{path}: cannot be run: {told.why_not_run}")
    return with_made_up_inputs(model) if run.data == RANDOM and not run.options.input_shapes else model


def _percentiles(model: Model, batches: Iterator[Batch]) -> list[tuple[Op, UnitPercentiles]]:
    """Of what enters each norm and activation, in the order of the graph."""
    first = next(batches, None)
    if first is None:
        return []
    traced = open_traced(model, first)
    entered = _entered(traced)
    parts: dict[str, list[Any]] = {}
    for batch in (first, *(each for each in batches if each.size == first.size)):
        values = traced.run(batch, [op.inputs[0] for op in entered])
        for op in entered:
            found = values.get(op.inputs[0])
            if found is not None and found.ndim >= 2:
                parts.setdefault(op.name, []).append(some_positions(found, _axis(op, found.ndim)))
    return [(op, percentiles(parts[op.name])) for op in entered if op.name in parts]


def _entered(traced: TracedModel) -> list[Op]:
    kinds = ("norm", "activation")
    return [op for op in traced.graph.ops if op.kind in kinds and op.inputs and op.inputs[0] in traced.present]


def _axis(op: Op, rank: int) -> int:
    """Where the units lie: of norms where they say, of images the second axis, else the last."""
    if isinstance(op.detail, Norm):
        return op.detail.axis
    return 1 if rank in (2, 4, 5) else rank - 1


def _point(
    op: Op,
    shape: UnitPercentiles,
    before: UnitPercentiles | None,
    norm: LayerMetrics | None,
    activation: ActivationMetrics | None,
) -> HistoryPoint:
    low, middle, high = map(float, shape.overall)
    kind = op.detail.layer.kind if isinstance(op.detail, Norm) else activation.kind if activation else op.operator
    point = HistoryPoint(op.name, op.kind, kind, low, middle, high, None if before is None else moved(before, shape))
    if norm is not None and norm.drift is not None:
        return replace(point, drift=norm.drift.corrected, drift_se=norm.drift.se)
    return point if activation is None else replace(point, saturated=activation.saturated_fraction)
