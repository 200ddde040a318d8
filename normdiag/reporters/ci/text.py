"""A check as text: a line for each model with its findings under it, and a table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import CheckedModel, CheckReport
from normdiag.reporters.ci.phrases import STALE, reason, stale_lines, status, verdict, worst
from normdiag.reporters.layout import BLANK, Line, Span, paint
from normdiag.reporters.parts.notes import bullets
from normdiag.reporters.parts.prose import heading, prose
from normdiag.reporters.parts.summary import by_rule
from normdiag.reporters.parts.tables import Column, Rows, name_table
from normdiag.reporters.text import NARROWEST
from normdiag.reporters.view import ASCII, MARGIN, STYLES, UNICODE, View


def render_text(
    check: CheckReport, *, width: int, color: bool, all_layers: bool = False, ascii_only: bool = False
) -> str:
    """The check in lines of at most `width` columns. Nothing from a file reaches the terminal as a control sequence."""
    view = View(max(width, NARROWEST), all_layers, None, ASCII if ascii_only else UNICODE)
    return paint(_parts(check, view), color=color)


def _parts(check: CheckReport, view: View) -> Iterator[Line]:
    yield (Span("normdiag check", "bold"),)
    for model in check.models:
        yield from _model(model, view)
    if len(check.models) > 1:
        yield from _table(check.models, view)
    yield from bullets(STALE, [view.safe(line) for line in stale_lines(check)], view)
    yield BLANK
    yield from prose(verdict(check), view, indent=0, style="bold green" if check.passed else "bold red")


def _model(model: CheckedModel, view: View) -> Iterator[Line]:
    severity = worst(model)
    style = STYLES[severity] if severity else "green"
    mark = Span(f"{view.mark(severity) or ' '} ", style)
    yield from prose([mark, Span(view.name(model.path), "bold"), Span(f"  {status(model)}", style)], view)
    if model.error is not None:
        yield from prose(view.safe(reason(model)), view, indent=MARGIN + 2)
    elif model.new:
        yield from by_rule(model.new, view, indent=MARGIN + 2)
        yield BLANK


def _table(models: Sequence[CheckedModel], view: View) -> Iterator[Line]:
    def counted(title: str, numbers: Sequence[int | None], keep: int) -> Column:
        return Column(
            title, ["" if n is None else view.glyphs.missing if n == 0 else f"{n:,}" for n in numbers], keep=keep
        )

    readable = [model.report is not None for model in models]
    layers = [len(model.report.layers) if model.report is not None else None for model in models]
    known = [len(m.findings) - len(m.new) if ok else None for m, ok in zip(models, readable, strict=True)]
    columns = [
        counted("layers", layers, 2),
        *(
            counted(title, [m.count(s) if ok else None for m, ok in zip(models, readable, strict=True)], keep)
            for title, s, keep in (("errors", "error", 6), ("warnings", "warning", 5), ("info", "info", 4))
        ),
        *([counted("known", known, 3)] if any(known) else []),
        Column("seconds", [f"{model.seconds:.2f}" for model in models], keep=1),
    ]
    rows = Rows(f"{len(models):,} models", [view.name(model.path) for model in models], [worst(m) for m in models])
    yield from heading("Models", view)
    yield from name_table(rows, columns, view)
