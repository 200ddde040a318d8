"""A check as text: a line for each model with its findings under it, and a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from normdiag.records import CheckedModel, CheckReport
from normdiag.render.ci.phrases import STALE, reason, stale_lines, status, verdict, worst
from normdiag.render.layout import BLANK, Line, Span, paint
from normdiag.render.parts.notes import bullets
from normdiag.render.parts.prose import heading, prose
from normdiag.render.parts.summary import by_rule
from normdiag.render.parts.tables import Column, Rows, name_table
from normdiag.render.text import NARROWEST
from normdiag.render.view import ASCII, MARGIN, STYLES, UNICODE, View
from normdiag.render.words import count


def render_text(
    check: CheckReport, *, width: int, color: bool, all_layers: bool = False, ascii_only: bool = False
) -> str:
    """The check in lines of at most `width` columns. Nothing from a file reaches the terminal as a control sequence."""
    view = View(max(width, NARROWEST), all_layers, None, ASCII if ascii_only else UNICODE)
    return paint(_parts(check, view), color=color)


def _parts(check: CheckReport, view: View) -> Iterator[Line]:
    yield (Span("normdiag check", "bold"),)
    for before, model in zip((None, *check.models), check.models, strict=False):
        if before is not None and before.new:
            yield BLANK
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
        yield from prose(view.safe(reason(model)), view, indent=MARGIN + 2, style=style)
    if model.new:
        yield from by_rule(model.new, view, indent=MARGIN + 2)


def _table(models: Sequence[CheckedModel], view: View) -> Iterator[Line]:
    def counted(title: str, keep: int, number: Callable[[CheckedModel], int]) -> Column:
        numbers = [number(model) if model.report is not None else None for model in models]
        return Column(title, ["" if n is None else f"{n:,}" if n else view.glyphs.missing for n in numbers], keep=keep)

    known = any(len(model.new) < len(model.findings) for model in models)
    columns = [
        counted("layers", 2, lambda model: len(model.report.layers) if model.report else 0),
        counted("errors", 6, lambda model: model.count("error")),
        counted("warnings", 5, lambda model: model.count("warning")),
        counted("info", 4, lambda model: model.count("info")),
        *([counted("known", 3, lambda model: len(model.findings) - len(model.new))] if known else []),
        Column("seconds", [f"{model.seconds:.2f}" for model in models], keep=1),
    ]
    rows = Rows(count(len(models), "model"), [view.name(model.path) for model in models], [worst(m) for m in models])
    yield from heading("Models", view)
    yield from name_table(rows, columns, view)
