"""`normdiag.inspect`: load, run or not, findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.data import DataOptions
from normdiag.diagnosis import coverage
from normdiag.errors import InputError, UsageError
from normdiag.graph import graph_of, open_model
from normdiag.models import LoadOptions
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import FoldPlan, LayerMetrics, Model, OpGraph, RangeSpread, Report, Target
from normdiag.rules import RULES, Rule, with_findings
from normdiag.wording import abridged

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, "int | None"], None]


def inspect(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    device: str | None = None,
    attribute: bool = False,
    threshold: float = SATURATION_THRESHOLD,
    progress: Progress | None = None,
    rules: Sequence[Rule] | None = None,
    target: Target | None = None,
    serve_batch: int | None = None,
) -> Report:
    """Diagnose every normalization layer of a model on the data given.

    `model` is a live torch.nn.Module, which is left bit-identical, or the path of a model file. `batches` is an array
    or tensor of samples, or an iterable of batches (arrays, tensors, tuples whose first element is the input, dicts
    by input name); `data` are the command line's data specifications instead. Without either, only what the file
    itself says is reported. `attribute` ranks the layers by what each adds to the gap. `threshold` in (0, 1) on
    |f'|/max|f'| is where an activation counts as saturated. `progress(samples, total)` is called after each batch;
    total is None where unknown. `rules` are those that look for findings, None for all, `target` the number format that
    the model is to run in, where some rules look more closely, `serve_batch` the number of samples that it is served in
    together.

    Ctrl-C ends the run and reports on what was seen so far. Raises InputError for a model or data that cannot be
    used, UsageError for arguments that contradict each other.
    """
    if batches is not None and data:
        raise UsageError("give either batches or data, not both")
    if not 0.0 < threshold < 1.0:
        raise UsageError(f"the saturation threshold must lie between 0 and 1, not at {threshold:g}")
    if serve_batch is not None and serve_batch < 1:
        raise UsageError(f"the serving batch size must be at least 1, not {serve_batch}")
    rules = RULES if rules is None else rules
    deployed = _Deployment(target, serve_batch)
    loaded = open_model(model, load_options)
    has_data = batches is not None or bool(data)
    if not has_data:
        return _judged(_static_report(loaded), loaded, rules, deployed)
    from normdiag.commands.measure import measured_report, open_runner, open_source  # what a static report does without

    source = open_source(loaded, batches, data, data_options or DataOptions())
    if loaded.program is None:
        return _judged(_static_report(loaded, source.info.source), loaded, rules, deployed)
    runner = open_runner(loaded, device, threshold)
    report = measured_report(loaded, runner, source, attribute, progress)
    return _judged(report, loaded, rules, deployed)


@dataclass(frozen=True)
class _Deployment:
    """What the user says of how the model is to run."""

    target: Target | None
    serve_batch: int | None


def _judged(report: Report, model: Model, rules: Sequence[Rule], deployed: _Deployment) -> Report:
    """The report with what the rules find in it, and with what it rests on."""
    report = replace(
        report,
        target=deployed.target,
        serve_batch=deployed.serve_batch,
        copies=model.copies,
        folded=model.folded,
        skipped=model.skipped,
    )
    return replace(_with_findings(report, model, rules), coverage=coverage(report, rules))


def _with_findings(report: Report, model: Model, rules: Sequence[Rule]) -> Report:
    """The report with what the rules find in it and, where one of them asks for it, in the graph of the model."""
    if not model.layers or not any(rule.needs_graph for rule in rules):
        return with_findings(report, rules)
    from normdiag.folding.plan import plan_folds

    try:
        graph = graph_of(model)
        if graph is None:
            return with_findings(report, rules)
        folds = plan_folds(graph)
        ranges = _ranges(graph, folds) if report.target == "int8" else ()
    except InputError as error:
        note = f"the rules on the graph (ND2xx) could not look: {error}"
        return with_findings(replace(report, notes=(*report.notes, note)), rules)
    seen = replace(report, graph=graph, folds=folds, ranges=ranges)
    return replace(with_findings(seen, rules), graph=None, folds=None)


def _ranges(graph: OpGraph, folds: FoldPlan) -> tuple[RangeSpread, ...]:
    """What folding does to weight ranges: for quantization alone, since nothing else has the rules read weights."""
    from normdiag.folding.ranges import range_spreads

    return range_spreads(graph, folds)


def _static_report(model: Model, unused_data: str | None = None) -> Report:
    """What the file alone says. Data beside weights that cannot be run is said to be unused."""
    notes = []
    trained = [layer for layer in model.layers if layer.training and layer.has_statistics]
    in_training = [layer.name for layer in trained if model.info.backend == "onnx"]
    if in_training:
        notes.append(
            f"exported in training mode: {abridged(in_training)}; the output depends on what else is in the batch"
        )
    layers = tuple(LayerMetrics(layer) for layer in model.layers)
    return Report(model.info, None, layers, notes=tuple(notes), why_not_run=model.why_not_run, unused_data=unused_data)
