"""A document as text for a terminal or a file."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records.document import Document, Phrase, Section
from normdiag.render.text.blocks import block_lines, prose
from normdiag.render.text.lines import BLANK, Line, StyledText, paint, wrap
from normdiag.render.text.view import NARROWEST, TextView


def render_text(document: Document, *, width: int, color: bool, ascii_only: bool = False) -> str:
    """The document in lines of at most `width` columns, ending in a newline.

    Nothing from a file reaches the terminal as a control sequence or as markup.
    """
    return paint(_lines(document, TextView(max(width, NARROWEST), ascii_only)), color=color)


def _lines(document: Document, view: TextView) -> Iterator[Line]:
    if document.title:
        yield (StyledText(view.safe(document.title), "bold"),)
    for section in document.sections:
        yield from _section(section, view)


def _section(section: Section, view: TextView) -> Iterator[Line]:
    if section.title:
        yield BLANK
        yield from wrap([StyledText(view.safe(section.title), "bold")], view.width)
    if section.legend:
        yield from prose([Phrase(section.legend, "muted")], view)
    for block in section.blocks:
        yield from block_lines(block, view)
