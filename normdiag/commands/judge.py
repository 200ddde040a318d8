"""What the rules find in a report and, where one of them asks for it, in the computation of the model."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from normdiag.diagnosis import CAUSES, coverage, diagnosed
from normdiag.errors import InputError, UsageError
from normdiag.extras import require_export
from normdiag.graph import graph_of
from normdiag.graph.neighbours import neighbours
from normdiag.graph.norm_roles import norm_roles
from normdiag.metrics.response import with_responses
from normdiag.records import Batch, FoldPlan, Model, OpGraph, RangeSpread, Report, Target
from normdiag.rules import Context, Rule, with_findings


@dataclass(frozen=True)
class Deployment:
    """What the user says of how the model is to run: in which number format, with how many samples at a time."""

    target: Target | None = None
    serve_batch: int | None = None


def judged(
    report: Report, model: Model, rules: Sequence[Rule], deployed: Deployment, example: Batch | None = None
) -> Report:
    """The report with its findings, and with what it rests on. `example`: of the input of a PyTorch model."""
    report = replace(
        report,
        target=deployed.target,
        serve_batch=deployed.serve_batch,
        copies=model.copies,
        folded=model.folded,
        skipped=model.skipped,
        reading=model.reading,
    )
    found = diagnosed(_with_findings(report, model, rules, example), CAUSES)
    return replace(found, coverage=coverage(found, rules))


def _with_findings(report: Report, model: Model, rules: Sequence[Rule], example: Batch | None) -> Report:
    """The report with what the rules find in it and, where one of them asks for it, in the graph of the model."""
    if not any(rule.needs_graph for rule in rules):
        return with_findings(report, rules)
    try:
        with _without_collection():
            report, graph = _with_graph(report, model, example)
        if graph is None:
            return with_findings(report, rules)
        from normdiag.folding.plan import plan_folds

        folds = plan_folds(graph)
        ranges = _ranges(graph, folds) if report.target == "int8" else ()
    except (InputError, UsageError) as error:
        note = f"the rules on the graph (ND2xx) could not look: {error}"
        return with_findings(replace(report, notes=(*report.notes, note)), rules)
    beside = neighbours(graph, [m.layer.name for m in report.layers])
    layers = with_responses(report.layers, graph)
    report = replace(report, layers=layers, ranges=ranges, neighbours=beside, roles=norm_roles(graph))
    return with_findings(Context(report, graph, folds), rules)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Inside, Python does not look for garbage: of all that is imported, torch with it, that takes up to 0.2 s."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _with_graph(report: Report, model: Model, example: Batch | None) -> tuple[Report, OpGraph | None]:
    """The graph, and the report with what only that shows.

    Of a PyTorch model it is the graph that folding plans on: of a copy, which shares the tensors of the model.
    """
    if model.info.backend != "pytorch":
        return report, graph_of(model) if model.layers else None
    if example is None or model.program is None:
        return report, None
    if model.streamed:
        raise InputError("the weights of the model are streamed, and its graph would hold all of them")
    require_export("exporting the model needs")
    from normdiag.commands.written import with_written_layers
    from normdiag.folding.pytorch import TorchFoldable

    foldable = TorchFoldable(model.program, model.info, example, share=True)
    try:
        return with_written_layers(report, foldable, example), foldable.graph
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
        # A program of a kind that nobody has seen yet: the report without its graph is worth more than none.
        raise InputError(f"its exported graph is not understood ({type(error).__name__}: {error})"[:300]) from error


def _ranges(graph: OpGraph, folds: FoldPlan) -> tuple[RangeSpread, ...]:
    """What folding does to weight ranges: for quantization alone, since nothing else has the rules read weights."""
    from normdiag.folding.ranges import range_spreads

    return range_spreads(graph, folds)
