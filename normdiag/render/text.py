"""The report as text for a terminal or a file."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Report
from normdiag.render.layout import Line, paint
from normdiag.render.parts.activations import activations
from normdiag.render.parts.channels import channels as channel_table
from normdiag.render.parts.gap import gap
from normdiag.render.parts.header import header
from normdiag.render.parts.norms import norms
from normdiag.render.parts.notes import notes
from normdiag.render.parts.summary import summary
from normdiag.render.view import ASCII, UNICODE, View

# Narrower than this no table can be read: lines may then be longer than the terminal.
NARROWEST = 40


def render_text(
    report: Report,
    *,
    width: int,
    color: bool,
    all_layers: bool = False,
    channels: str | None = None,
    ascii_only: bool = False,
) -> str:
    """The report in lines of at most `width` columns, ending in a newline.

    `channels` names a layer whose worst channels are shown as well; UsageError where there is none of that name.
    Nothing from the file reaches the terminal as a control sequence or as markup.
    """
    view = View(max(width, NARROWEST), all_layers, channels, ASCII if ascii_only else UNICODE)
    return paint(_parts(report, view), color=color)


def _parts(report: Report, view: View) -> Iterator[Line]:
    yield from header(report, view)
    yield from summary(report, view)
    if report.layers:
        yield from norms(report, view)
    yield from channel_table(report, view)
    yield from activations(report, view)
    yield from gap(report, view)
    yield from notes(report, view)
