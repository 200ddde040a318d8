"""What two models compute differently on the same data, as parts of a document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from normdiag.records.diff import ComparedOnData, DiffReport, Parting, PlaceApart
from normdiag.records.document import Block, Column, Phrase, Section, Space, Table, paragraph
from normdiag.report.abridge import ROWS, WHOLE, Detail, ShownRows, choose, left_out
from normdiag.report.charts import places_chart
from normdiag.report.header import RANDOM
from normdiag.report.words import count, number, percent, short_name, shortened

LEGEND = (
    "difference: largest, of A's largest value; RMS: root mean square of the difference over that of A; rounding "
    "explains: as much of the largest"
)
TOLERATED = "difference: largest, of A's largest value; RMS: root mean square of the difference over that of A"
# With less than this of the difference gone, the first layer that departs is not the only one.
ALMOST_ALL = 0.9


def data_words(data: ComparedOnData) -> str | Phrase:
    """The data, in the head of the report."""
    amount = f"{count(data.samples, 'sample')}, {data.batch_size:,} at a time"
    if not data.random:
        return f"{shortened(data.source)}, {amount}"
    return Phrase(f"{RANDOM.upper()}, {amount}: made up, so that differences on real inputs may be others", "caution")


def on_data_summary(report: DiffReport) -> Iterator[Block]:
    """Whether the outputs agree, where the models part, and why."""
    data = report.on_data
    if data is None:
        return
    worst = max(data.outputs, key=_excess)
    allowed = "the tolerance is" if report.tolerance is not None else "rounding explains"
    apart = f"the outputs differ by {_apart(worst)} of their largest value; {allowed} {number(worst.bound)}"
    if data.agree:
        yield paragraph(f"On the data both compute the same: {apart}.", "good")
        yield Space()
        return
    yield paragraph(f"On the data {apart}{_answers(data)}.", "bad")
    yield from _parting(data.parting)
    yield Space()


def _answers(data: ComparedOnData) -> str:
    return "" if data.answers_changed is None else f", and {percent(data.answers_changed)} of the answers change"


def _parting(parting: Parting | None) -> Iterator[Block]:
    if parting is None:
        yield paragraph(
            "No layer that was paired departs before the outputs: what differs lies after the last of them."
        )
        return
    name = short_name(parting.a)
    also = "" if parting.a == parting.b else f" ({short_name(parting.b)} in B)"
    share = "" if parting.share is None else f"; A's values put into B there, {_gone(parting.share)}"
    yield paragraph(f"First to depart: {name}{also}{share}.", "strong")
    if parting.cause is None:
        yield paragraph("Cause: not among those that normdiag knows by name.")
        return
    cause = parting.cause
    yield paragraph(f"Cause ({cause.cause}): {shortened(cause.summary)}", "strong")
    yield paragraph(f"{_capitalized(shortened(cause.evidence))}.", level=2)
    yield paragraph(f"→ {shortened(cause.remedy)}", level=2)


def _gone(share: float) -> str:
    if share >= 0.9995:
        return "all of the difference goes"
    part = "none of the difference goes" if share < 0.005 else f"{percent(share)} of the difference goes"
    return part if share >= ALMOST_ALL else f"{part}: other layers differ on their own as well"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def places_section(report: DiffReport, detail: Detail) -> Iterator[Section]:
    """How far apart they are after every layer."""
    data = report.on_data
    if data is None:
        return
    rows = [*data.places, *data.outputs]
    choice = _chosen(rows, detail)
    shown = [rows[index] for index in choice.shown]
    allowed = "rounding explains" if report.tolerance is None else "tolerance"
    columns = [
        Column("in B", [short_name(each.b) for each in shown], keep=0, right=False),
        Column("difference", [_apart(each) for each in shown], "diff."),
        Column("RMS", [number(each.rms) for each in shown], keep=1),
        Column(allowed, [number(each.bound) for each in shown], "bound"),
    ]
    if all(each.a == each.b for each in shown):
        columns = columns[1:]
    names = [f"output {short_name(each.a)}" if each.kind == "output" else short_name(each.a) for each in shown]
    marks = ["error" if each.departs and not data.agree else None for each in shown]
    table = Table(count(len(rows), "place"), names, marks, columns)  # type: ignore[arg-type]
    legend = LEGEND if report.tolerance is None else TOLERATED
    figures = (places_chart(names, shown, data.parting, allowed),) if detail.figures else ()
    yield Section("After each layer", (*figures, table, *left_out(choice, "place")), legend)


def _chosen(rows: Sequence[PlaceApart], detail: Detail) -> ShownRows:
    """All of a short table; else what lies around the first that departs, or the worst, and the end."""
    first = next((index for index, each in enumerate(rows) if each.departs), None)
    if first is None or detail.whole_tables or len(rows) <= WHOLE:
        return choose([None] * len(rows), [_excess(each) for each in rows], detail)
    start = min(max(0, first - 4), len(rows) - ROWS)
    shown = sorted({*range(start, start + ROWS - 4), *range(len(rows) - 4, len(rows))})
    return ShownRows(shown, len(rows) - len(shown))


def _excess(each: PlaceApart) -> float:
    return each.relative / each.bound if each.bound > 0 else math.inf if each.relative > 0 else 0.0


def _apart(each: PlaceApart) -> str:
    return "not finite" if math.isinf(each.relative) else number(each.relative)
