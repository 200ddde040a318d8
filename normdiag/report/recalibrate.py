"""What a recalibration did, as a document: the outcome, the effect on samples held out, each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from normdiag.recalibration.decide import drifts
from normdiag.records.document import Block, Column, Document, Paragraph, Role, Section, Table, facts, paragraph
from normdiag.records.recalibration import Effect, LayerChange, RecalibrationReport
from normdiag.report.abridge import Detail, choose, left_out
from normdiag.report.charts import recalibration_chart
from normdiag.report.header import model_rows
from normdiag.report.notes import bullets
from normdiag.report.words import (
    KIND_WORDS,
    MISSING,
    aligned_errors,
    count,
    fixed,
    listed,
    number,
    percent,
    short_name,
    shortened,
)


def recalibration_document(report: RecalibrationReport, detail: Detail | None = None) -> Document:
    """The whole report."""
    detail = detail or Detail()
    sections = (
        _header(report),
        Section("Summary", tuple(_summary(report)), opening=True),
        *_effect(report.effect),
        *_layers(report, detail),
        *_kept(report),
        *bullets("Notes", [*report.notes, *report.model.notes]),
    )
    return Document("normdiag recalibrate", sections)


def _header(report: RecalibrationReport) -> Section:
    measured = f"{count(report.samples, 'sample')} measured in batches of up to {report.batch_size:,}"
    data = f"{shortened(report.source)}: {measured}, {report.held_out:,} held out"
    target = shortened(report.written) if report.written else "nothing was written"
    return Section("", (facts(*model_rows(report.model), ("data", data), ("output", target)),), opening=True)


def _summary(report: RecalibrationReport) -> Iterator[Block]:
    """The outcome in one sentence, what speaks for it, and how exact it is."""
    text, role = _outcome(report)
    yield paragraph(text, role)
    if (accuracy := _accuracy(report.effect)) is not None:
        yield paragraph(accuracy)
    if report.outcome == "already_right" and _is_low(report.effect):
        yield paragraph("What is wrong with this model is something else; normdiag inspect looks further.", "caution")
    worst = max(report.replaced, key=lambda each: each.error, default=None)
    if worst is not None and math.isfinite(worst.error):
        yield paragraph(_exactness(report, worst))


def _outcome(report: RecalibrationReport) -> tuple[str, Role]:
    copied = ", and the output is a copy of the input" if report.written else ""
    if report.outcome == "already_right":
        return f"Nothing to recalibrate: the data agrees with the statistics that are stored{copied}.", "good"
    if report.outcome == "undecided":
        return _undecided(report, copied)
    measured = sum(each.uses == "measured" for each in report.replaced)
    of = f"{measured:,} of {count(len(report.layers), 'layer')}"
    if report.outcome == "worse":
        done = f"written all the same, with {of}" if report.written else "so nothing was written (--accept-worse)"
        return f"Worse on the samples held out, {done}.", "bad"
    if report.replaced and not measured:
        return "The layers in training mode use what they store from now on, which is right on this data.", "good"
    return (
        (f"{of} got measured statistics.", "good") if report.written else (f"{of} would get measured statistics.", "")
    )


def _undecided(report: RecalibrationReport, copied: str) -> tuple[str, Role]:
    left = [short_name(each.layer) for each in report.layers if each.kept is not None and drifts(each)]
    if left:
        told = f"the data contradicts {listed(left)}, which stays as it is for the reason below"
        return f"Nothing was changed{copied}: {told}.", "bad"
    samples = count(report.samples, "sample")
    told = f"{samples} neither contradict nor confirm the stored statistics{copied}. Give more data."
    return f"Nothing was changed: {told}", "caution"


def _accuracy(effect: Effect | None) -> str | None:
    if effect is None:
        return "No samples were held out, so that the effect is not known."
    samples = count(effect.samples, "sample")
    if effect.accuracy is not None and effect.newly is not None:
        before, after = effect.accuracy
        right, wrong = effect.newly
        return (
            f"Accuracy on {samples} held out: {percent(before)} before, {percent(after)} after "
            f"({right:,} newly right, {wrong:,} newly wrong)."
        )
    if effect.gap is not None:
        before, after = effect.gap
        return f"Batch-vs-eval gap on {samples} held out: {percent(before)} before, {percent(after)} after."
    return None


def _is_low(effect: Effect | None) -> bool:
    """Whether more answers are wrong than right."""
    return effect is not None and effect.accuracy is not None and effect.accuracy[0] < 0.5


def _exactness(report: RecalibrationReport, worst: LayerChange) -> str:
    known = f"The measured statistics are known to ±{number(worst.error)} standard deviations or better"
    if report.needed is not None:
        takes = f"±{number(report.tolerance)} takes about {count(report.needed, 'sample')}"
        return f"{known} (least in {short_name(worst.layer)}); {takes}."
    reached = f", below the tolerance of {number(report.tolerance)}" if report.tolerance is not None else ""
    return f"{known} (least in {short_name(worst.layer)}){reached}."


def _effect(effect: Effect | None) -> Iterator[Section]:
    """What changes on the samples held out."""
    if effect is None:
        return
    rows = [("output", f"{short_name(effect.output)}, which changes by {percent(effect.relative_rms)} (relative RMS)")]
    if effect.answers_changed is not None:
        rows.append(("answers changed", percent(effect.answers_changed)))
    if effect.accuracy is not None:
        rows.append(("accuracy", " → ".join(map(percent, effect.accuracy))))
    if effect.gap is not None:
        rows.append(("batch-vs-eval gap", " → ".join(map(percent, effect.gap))))
    if effect.drift is not None:
        rows.append(("drift, RMS over layers", " → ".join(map(fixed, effect.drift))))
    yield Section(f"Before and after, on {count(effect.samples, 'sample')} held out", (facts(*rows),))


def _layers(report: RecalibrationReport, detail: Detail) -> Iterator[Section]:
    """One row for each layer, the largest drift first shown where there are too many."""
    layers = report.layers
    if not layers:
        return
    drifts = [math.inf if math.isnan(each.drift) else each.drift for each in layers]
    choice = choose([None] * len(layers), drifts, detail)
    shown = [layers[index] for index in choice.shown]
    columns = [
        Column("kind", [KIND_WORDS[each.kind][0] for each in shown], keep=0, right=False),
        Column("channels", [f"{each.channels:,}" for each in shown], "ch.", keep=1),
        Column("drift of the stored", aligned_errors([_drift(each) for each in shown]), "drift"),
        Column("error of the measured", [_error(each) for each in shown], "error"),
        Column("statistics", ["kept" if each.kept else _new(report, each) for each in shown], keep=2, right=False),
    ]
    table = Table(count(len(layers), "layer"), [short_name(e.layer) for e in shown], [None] * len(shown), columns)
    legend = "in standard deviations of the layer's input; the error is what sampling leaves"
    figures = (recalibration_chart(shown),) if detail.figures else ()
    yield Section("Layers", (*figures, table, *left_out(choice, "layer")), legend)


def _new(report: RecalibrationReport, layer: LayerChange) -> str:
    if report.outcome in ("already_right", "undecided") or (report.outcome == "worse" and not report.written):
        return "unchanged"
    if layer.uses == "stored":
        return "stored"
    return "measured" if not report.keep else f"{percent(1.0 - report.keep)} measured"


def _drift(layer: LayerChange) -> tuple[float, float] | None:
    return None if math.isnan(layer.drift) else (layer.drift, layer.se)


def _error(layer: LayerChange) -> str:
    return fixed(layer.error) if math.isfinite(layer.error) else MISSING


def _kept(report: RecalibrationReport) -> Iterator[Section]:
    """The layers that keep what they have, by reason."""
    by_reason: dict[str, list[str]] = {}
    for each in report.layers:
        if each.kept is not None:
            by_reason.setdefault(each.kept, []).append(short_name(each.layer))
    lines: Sequence[Paragraph] = [paragraph(f"{listed(names)}: {why}") for why, names in by_reason.items()]
    if lines:
        yield Section("Not recalibrated", tuple(lines))
