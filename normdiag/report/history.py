"""A training run, checkpoint by checkpoint, as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records.document import Column, Document, Section, Table, facts, paragraph
from normdiag.records.history import HistoryPoint, HistoryReport, HistoryStep
from normdiag.report.abridge import Detail
from normdiag.report.charts import percentiles_chart, run_chart
from normdiag.report.notes import bullets
from normdiag.report.words import MISSING, count, number, percent, short_name, shortened

# Layers that are shown without --all: the last, and those that move most.
SHOWN, SHOWN_ON_A_PAGE = 4, 24
LEGEND = (
    "15 %, median, 85 %: percentiles of what enters the layer; moved: medians of its units since the row before, in "
    "half widths (85 % - 15 %) / 2; drift: of the stored statistics, in stored standard deviations"
)


def history_document(report: HistoryReport, detail: Detail | None = None) -> Document:
    """The run as a whole, then what enters each layer."""
    detail = detail or Detail()
    names = [point.name for point in report.steps[-1].points] if report.steps else []
    shown = names if detail.all_layers else _telling(report, names, SHOWN_ON_A_PAGE if detail.figures else SHOWN)
    left = len(names) - len(shown)
    more = (paragraph(f"… {count(left, 'more layer')}, --all shows them", "muted"),) if left else ()
    sections = [
        Section("", (facts(("data", f"{shortened(report.source)}, {count(report.samples, 'sample')}")),), opening=True),
        _whole(report.steps, detail),
        *(_layer(report.steps, name, LEGEND if index == 0 else "", detail) for index, name in enumerate(shown)),
        *((Section("", more),) if more else ()),
        *bullets("Notes", report.notes),
    ]
    return Document("normdiag history", tuple(sections))


def _whole(steps: Sequence[HistoryStep], detail: Detail) -> Section:
    columns = [
        Column("gap", [MISSING if each.gap is None else percent(each.gap) for each in steps]),
        Column("gradient", [MISSING if each.gradient is None else number(each.gradient) for each in steps]),
        Column("most drift", [_worst(each, "drift") for each in steps], keep=1, right=False),
        Column("most moved", [_worst(each, "moved") for each in steps], keep=0, right=False),
        Column("file", [short_name(each.path.rpartition("/")[2]) for each in steps], keep=2, right=False),
    ]
    legend = (
        "gap: relative RMS difference that batch statistics make at the output; gradient: RMS that the activations let "
        "through along the depth"
    )
    table = Table(count(len(steps), "checkpoint"), _steps(steps), [None] * len(steps), columns)
    drawn = detail.figures and any(each.gap is not None for each in steps)
    figures = (run_chart(_steps(steps), steps),) if drawn else ()
    return Section("The run", (*figures, table), legend)


def _worst(step: HistoryStep, what: str) -> str:
    told = [(value, each.name) for each in step.points if (value := getattr(each, what)) is not None]
    if not told:
        return MISSING
    value, name = max(told)
    return f"{short_name(name)} {number(value)}"


def _steps(steps: Sequence[HistoryStep]) -> list[str]:
    return [f"{each.step:,}" if each.step is not None else short_name(each.path.rpartition("/")[2]) for each in steps]


def _telling(report: HistoryReport, names: Sequence[str], most_shown: int) -> list[str]:
    """In network order: the last layer, and those that moved most from one checkpoint to another."""
    most = {name: max(each.moved or 0.0 for each in _of(report.steps, name) if each is not None) for name in names}
    chosen = {*sorted(names, key=lambda name: -most[name])[: most_shown - 1], *names[-1:]}
    return [name for name in names if name in chosen]


def _of(steps: Sequence[HistoryStep], name: str) -> Iterator[HistoryPoint | None]:
    for step in steps:
        yield next((each for each in step.points if each.name == name), None)


def _layer(steps: Sequence[HistoryStep], name: str, legend: str, detail: Detail) -> Section:
    points = list(_of(steps, name))
    told = [each for each in points if each is not None]
    columns = [
        Column("15 %", [MISSING if each is None else number(each.low) for each in points]),
        Column("median", [MISSING if each is None else number(each.middle) for each in points]),
        Column("85 %", [MISSING if each is None else number(each.high) for each in points]),
        Column("moved", [MISSING if each is None or each.moved is None else number(each.moved) for each in points]),
    ]
    if any(each.drift is not None for each in told):
        columns.append(Column("drift", [MISSING if e is None or e.drift is None else number(e.drift) for e in points]))
    if any(each.saturated is not None for each in told):
        cells = [MISSING if e is None or e.saturated is None else percent(e.saturated) for e in points]
        columns.append(Column("saturated", cells))
    table = Table("step", _steps(steps), [None] * len(steps), columns)
    kind = f" ({told[0].kind.replace('_', ' ')})" if told else ""
    title = f"What enters {short_name(name)}{kind}"
    figures = (percentiles_chart(title, _steps(steps), points),) if detail.figures else ()
    return Section(title, (*figures, table), legend)
