"""Running data through a loaded model, up to a report without findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import add

from normdiag.commands.reference import Reference
from normdiag.commands.sources import GivenBatches, Remembering, Source, first_batches
from normdiag.errors import InputError, UsageError
from normdiag.metrics import (
    answered_classes,
    explained,
    gradient_product,
    held_against_labels,
    measure_activations,
    measure_gap,
    measure_layers,
    needs_explaining,
    observed_statistics,
    output_change,
    rank_attribution,
    recalibration_change,
)
from normdiag.observe import passes
from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.ranks import ALONE, Ranks, together
from normdiag.records import (
    ChannelSums,
    DataInfo,
    Evidence,
    Gap,
    LayerMetrics,
    Model,
    NormLayer,
    OnTrainingData,
    Recalibration,
    Report,
)

Progress = Callable[[int, "int | None"], None]
ATTRIBUTION_SAMPLES = 256
FEW_SAMPLES = 8


def runnable(model: Model) -> Model:
    """The model without what comes after operators that onnxruntime does not know, and a note that names them.

    Where that leaves nothing to watch, there is no program, and the reason says so.
    """
    if model.info.backend != "onnx" or model.program is None:
        return model
    from normdiag.observe.onnx.custom_operators import runnable_part

    part = runnable_part(model.program)
    if part is None:
        return model
    if part.program is None:
        return replace(model, program=None, why_not_run=part.note)
    return replace(model, program=part.program, info=replace(model.info, notes=(*model.info.notes, part.note)))


def open_runner(model: Model, device: str | None, threshold: float) -> Runner:
    """The backend that runs the model; it is imported only here."""
    if model.info.backend == "onnx":
        if device not in (None, "cpu"):
            raise UsageError(f"--device {device}: ONNX models run on the CPU here")
        from normdiag.observe.onnx import OnnxRunner

        return OnnxRunner(model, threshold=threshold)
    from normdiag.observe.pytorch import TorchRunner

    return TorchRunner(model, device=device, threshold=threshold)


@dataclass(frozen=True, eq=False)
class _Share:
    """What one process saw, and the layers in the order in which they ran there."""

    evidence: Evidence
    layers: tuple[NormLayer, ...]
    interrupted: bool
    distinct: int

    def __add__(self, other: _Share) -> _Share:
        layers, interrupted = (
            self.layers if self.evidence.samples else other.layers,
            self.interrupted or other.interrupted,
        )
        return _Share(self.evidence + other.evidence, layers, interrupted, self.distinct + other.distinct)


def _observed(
    runner: Runner, source: Source, progress: Progress | None, ranks: Ranks, points: passes.Watch | None
) -> tuple[passes.Observation, tuple[NormLayer, ...]]:
    """What all processes saw together, with the batches held by this one."""
    total, held = source.info.total, list[passes.Held]()

    def share() -> _Share:
        told = (lambda samples: progress(samples, total)) if progress else None
        seen = passes.observe(runner, source, told, points=points)
        held.extend(seen.held)
        return _Share(seen.evidence, runner.layers(), seen.interrupted, seen.distinct)

    found = together(ranks, share, add)
    return passes.Observation(found.evidence, tuple(held), found.interrupted, found.distinct), found.layers


def measured_report(
    model: Model,
    runner: Runner,
    source: Source,
    attribute: bool,
    progress: Progress | None,
    ranks: Ranks = ALONE,
    reference: Reference | None = None,
) -> Report:
    """Run all of the data and report, without findings. Raises InputError for data that does not fit the model."""
    seen, ran = _observed(runner, source, progress, ranks, None if reference is None else reference.watch(runner))
    if seen.evidence.samples == 0 and not seen.interrupted:
        raise InputError(_nothing_ran(runner, source))
    report = _report(model, runner, source, seen, ran, ranks)
    if reference is not None:
        report = reference.applied(report, seen.evidence.points)
    if not attribute or report.gap is None or seen.interrupted:
        return report
    return _with_attribution(report, runner, source, seen.evidence)


def with_training_data(report: Report, training: Report) -> Report:
    """The report with what the model shows on data that it was trained on; a run that was broken off counts as none."""
    if training.interrupted or training.data is None:
        return replace(report, interrupted=training.interrupted)
    seen = OnTrainingData(training.data, training.layers, training.gap, training.recalibration)
    return replace(report, on_training_data=seen)


def _nothing_ran(runner: Runner, source: Source) -> str:
    if runner.fixed_batch is not None and runner.fixed_batch > 1:
        return (
            f"{source.info.source}: the model runs only {runner.fixed_batch} samples at a time; give at least as many"
        )
    return f"{source.info.source}: holds no samples"


def _report(
    model: Model,
    runner: Runner,
    source: Source,
    seen: passes.Observation,
    ran: tuple[NormLayer, ...],
    ranks: Ranks,
) -> Report:
    evidence = seen.evidence
    layers = measure_layers(ran, evidence)
    activations = measure_activations(evidence.activations)
    gap = measure_gap(evidence)
    recalibration = None
    if gap is not None and not seen.interrupted and needs_explaining(gap, layers):
        gap, recalibration = _recalibrated(gap, layers, runner, seen, ranks)
    return Report(
        model=model.info,
        data=_data_info(source, seen),
        layers=layers,
        activations=activations,
        gradient=gradient_product(evidence.activations),
        gap=gap,
        notes=(*source.info.notes, *runner.notes),
        interrupted=seen.interrupted,
        recalibration=recalibration,
    )


def _recalibrated(
    gap: Gap, layers: Sequence[LayerMetrics], runner: Runner, seen: passes.Observation, ranks: Ranks
) -> tuple[Gap, Recalibration | None]:
    """The gap with the shares of drift and noise in it, and what replaced statistics change."""
    statistics = all_statistics(layers, seen.evidence)
    if not statistics:
        return gap, None
    found = together(ranks, lambda: passes.recalibrated(runner, seen.held, statistics), add)
    if gap.output not in found.change:
        return gap, None
    drift, noise, error = explained(found.gap[gap.output], found.noise[gap.output], seen.evidence.batches)
    of_output = (each[gap.output] for each in (found.change, found.gap, found.noise))
    change, chance = recalibration_change(*of_output), output_change(found.noise[gap.output])
    shared = replace(gap, explained_drift=drift, explained_noise=noise, explained_se=error)
    answered = answered_classes(found.noise[gap.output])
    labelled = held_against_labels(found.marks.get(gap.output), found.samples)
    return shared, Recalibration(gap.output, found.samples, gap.batch_size, change, chance, answered, labelled)


def all_statistics(layers: Sequence[LayerMetrics], evidence: Evidence) -> dict[str, ReplacedStatistics]:
    """The statistics that pass B measured, by the name of the BatchNorm layer."""
    measured = [each.layer for each in layers if each.own is not None and each.layer.kind == "batch_norm"]
    return {layer.name: _own_statistics(layer, evidence.layers[layer.name].own) for layer in measured}


def _data_info(source: Source, seen: passes.Observation) -> DataInfo:
    info, evidence = source.info, seen.evidence
    sizes = evidence.samples, evidence.batch_size, evidence.batches
    return DataInfo(info.source, *sizes, info.random, info.preprocess, seen.distinct)


def _with_attribution(report: Report, runner: Runner, source: Source, evidence: Evidence) -> Report:
    """The report with the layers ranked by how much of the gap their own statistics take away."""
    given = source.source if isinstance(source, Remembering) else source
    if isinstance(given, GivenBatches) and iter(given.batches) is given.batches:
        note = "no attribution: it goes over the data a second time; pass a list or a DataLoader, not a generator"
        return replace(report, notes=(*report.notes, note))
    own = all_statistics(report.layers, evidence)
    before, after = passes.attribute(runner, first_batches(source, ATTRIBUTION_SAMPLES), own)
    assert report.gap is not None  # the caller has asked for it
    ranked = rank_attribution(before, after, report.gap.output)
    note = f"attribution: measured on the first {min(ATTRIBUTION_SAMPLES, evidence.samples)} samples"
    return replace(report, gap=replace(report.gap, attribution=ranked), notes=(*report.notes, note))


def _own_statistics(layer: NormLayer, sums: ChannelSums | None) -> ReplacedStatistics:
    assert sums is not None and layer.running_mean is not None  # local drift was computed from them
    return ReplacedStatistics(*observed_statistics(sums, layer.running_mean))
