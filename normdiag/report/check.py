"""A check of many models, as a document: a line for each model with its findings under it, and a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from normdiag.records import CheckedModel, CheckReport
from normdiag.records.document import Block, Column, Document, Paragraph, Phrase, Role, Section, Space, Table, paragraph
from normdiag.report.abridge import Detail
from normdiag.report.check_phrases import (
    STALE,
    reason,
    skipped_line,
    stale_lines,
    status,
    unjudged_lines,
    verdict,
    worst,
)
from normdiag.report.notes import bullets
from normdiag.report.summary import by_rule
from normdiag.report.words import MARKS, MISSING, count, short_name, shortened


def check_document(check: CheckReport, detail: Detail | None = None) -> Document:
    """The whole check."""
    detail = detail or Detail()
    models: list[Block] = []
    for before, model in zip((None, *check.models), check.models, strict=False):
        if before is not None and before.new:
            models.append(Space())
        models += _model(model, detail)
    sections = (
        Section("", tuple(models)),
        *(_table(check.models) if len(check.models) > 1 else ()),
        *bullets("Not judged on data", unjudged_lines(check)),
        *_skipped(check),
        *bullets(STALE, stale_lines(check)),
        Section("", (Space(), paragraph(verdict(check), "passed" if check.passed else "bad", level=0)), opening=True),
    )
    return Document("normdiag check", sections)


def _skipped(check: CheckReport) -> Iterator[Section]:
    line = skipped_line(check)
    if line:
        yield Section("", (Space(), paragraph(shortened(line), "muted")))


def _model(model: CheckedModel, detail: Detail) -> Iterator[Block]:
    severity = worst(model)
    role = severity or ("good" if model.judged else "warning")
    mark = Phrase(f"{MARKS[severity] if severity else ' ' if model.judged else '?'} ", role)
    yield Paragraph((mark, Phrase(short_name(model.path), "strong"), Phrase(f"  {status(model)}", role)))
    if model.error is not None:
        yield paragraph(shortened(reason(model)), role, level=2)
    for each in model.report.diagnosis if model.report is not None and model.new else ():
        if each.severity != "info":
            yield paragraph(shortened(f"{each.cause}: {each.summary}"), level=2)
            paste: Role = "command" if each.remedy.command else ""
            yield Paragraph((Phrase("→ "), Phrase(shortened(each.remedy.command or each.remedy.text), paste)), level=3)
    if model.new:
        yield from by_rule(model.new, detail, level=2)


def _table(models: Sequence[CheckedModel]) -> Iterator[Section]:
    def counted(title: str, keep: int, number: Callable[[CheckedModel], int]) -> Column:
        numbers = [number(model) if model.report is not None else None for model in models]
        return Column(title, ["" if n is None else f"{n:,}" if n else MISSING for n in numbers], keep=keep)

    known = any(len(model.new) < len(model.findings) for model in models)
    columns = [
        counted("layers", 2, lambda model: len(model.report.layers) if model.report else 0),
        counted("errors", 6, lambda model: model.count("error")),
        counted("warnings", 5, lambda model: model.count("warning")),
        counted("info", 4, lambda model: model.count("info")),
        *([counted("known", 3, lambda model: len(model.findings) - len(model.new))] if known else []),
        Column("seconds", [f"{model.seconds:.2f}" for model in models], keep=1),
    ]
    names, marks = [short_name(model.path) for model in models], [worst(model) for model in models]
    yield Section("Models", (Table(count(len(models), "model"), names, marks, columns),))
