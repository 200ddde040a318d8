"""What a report rests on: a finding needs a measurement, and so does 'no findings'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from normdiag.diagnosis.folded import folded_away
from normdiag.records import Coverage, DataInfo, LayerMetrics, Report, Topic, Unmeasured
from normdiag.rules import Rule
from normdiag.rules.rule import is_measured
from normdiag.wording import abridged

# Below this many samples an error bar is itself a guess.
FEW_SAMPLES = 8
NOTHING_STORED = "the layers store no statistics that the data could contradict"
NOT_USED = "no layer normalizes with its running statistics"
STORED: tuple[Topic, ...] = ("parameters", "drift", "gap")
ON_DATA: tuple[Topic, ...] = ("drift", "gap", "activations")


def coverage(report: Report, rules: Iterable[Rule]) -> Coverage:
    """What was measured, what was not and why, and whether `rules` judged a normalization layer on data by it."""
    obstacle = _not_run(report) if report.data is None else _unjudged(report, report.data, rules)
    if obstacle is None:
        measured = tuple(_measured(report))
        skewed = [each for each in report.diagnosis if each.cause == "skewed_data"]
        unjudged = (Unmeasured("drift", each.evidence, "give data of all kinds") for each in skewed)
        judged = not skewed and ("drift" in measured or "groups" in measured)
        return Coverage(measured, (*unjudged, *_missing(report)), judged)
    lost = () if report.layers else tuple(_without_layers(report))
    unjudged = (Unmeasured(topic, *obstacle) for topic in ON_DATA if report.layers or topic not in STORED)
    return Coverage(("parameters",) if report.layers else (), (*lost, *unjudged))


def _measured(report: Report) -> Iterator[Topic]:
    if report.layers:
        yield "parameters"
    if any(each.drift is not None for each in report.layers) or _referenced(report):
        yield "drift"
    if any(each.groups is not None for each in report.layers):
        yield "groups"
    if report.gap is not None:
        yield "gap"
    if report.activations:
        yield "activations"


def _not_run(report: Report) -> tuple[str, str | None]:
    if report.why_not_run is None:
        return "no data was given", "give data with --data"
    if report.unused_data is None:
        return f"no data was given, and {report.why_not_run}", None
    return f"the data was not used: {report.why_not_run}", None


def _unjudged(report: Report, data: DataInfo, rules: Iterable[Rule]) -> tuple[str, str | None] | None:
    """Why nothing can be judged by this data, whatever the model is, and what would help; None where something can."""
    if data.random:
        return "random data says nothing of real inputs", "give real data with --data"
    if not data.samples:
        return "the run was stopped before its first sample", None
    if data.samples < FEW_SAMPLES:
        ran = f"only {data.samples} sample{'s' if data.samples > 1 else ''} ran"
        return f"{ran}, and an error bar needs at least {FEW_SAMPLES}", "give more data"
    if not is_measured(report):
        return "values that are not finite reached the layers", None
    if not any(rule.needs_data for rule in rules):
        return "no rule on data was selected", "select ND3 and ND4 as well"
    return None


def _missing(report: Report) -> Iterator[Unmeasured]:
    if report.layers:
        yield from _drift(report)
        yield from _gap(report)
    else:
        yield from _without_layers(report)
    if not report.activations:
        yield Unmeasured("activations", "no activation function was recognised")


def _without_layers(report: Report) -> Iterator[Unmeasured]:
    why, remedy = (_skipped(report), None) if report.skipped else folded_away(report)
    topics = [topic for topic in STORED if topic != "drift" or not _referenced(report)]
    yield from (Unmeasured(topic, why, remedy) for topic in topics)


def _referenced(report: Report) -> bool:
    """Whether points of the model were compared with a reference, which needs no stored statistics."""
    return report.reference is not None and bool(report.reference.points)


def _skipped(report: Report) -> str:
    return f"nodes that normalize ({len(report.skipped)}) could not be analysed; the notes say why"


def _drift(report: Report) -> Iterator[Unmeasured]:
    if _referenced(report):
        return
    if report.folded:
        yield Unmeasured("drift", *folded_away(report))
    if report.skipped:
        yield Unmeasured("drift", _skipped(report))
    unseen = [each.layer.name for each in report.layers if each.calls == 0]
    if unseen:
        yield Unmeasured("drift", f"layers that did not run on this data ({len(unseen)}): {abridged(unseen)}")
    if not _stored(report):
        yield Unmeasured("drift", NOTHING_STORED)
    elif len(unseen) < len(report.layers) and not any(each.drift is not None for each in report.layers):
        yield Unmeasured("drift", NOT_USED)


def _gap(report: Report) -> Iterator[Unmeasured]:
    if report.gap is not None:
        return
    if not _stored(report):
        yield Unmeasured("gap", NOTHING_STORED)
    elif not any(each.layer.kind == "batch_norm" for each in _stored(report)):
        yield Unmeasured("gap", "the model has no BatchNorm with running statistics")
    elif report.data is not None and report.data.batch_size < 2:
        yield Unmeasured("gap", "batch statistics need batches of at least 2 samples", "raise --batch-size")
    else:
        yield Unmeasured("gap", NOT_USED)


def _stored(report: Report) -> list[LayerMetrics]:
    return [each for each in report.layers if each.layer.has_statistics]
