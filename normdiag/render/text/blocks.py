"""Each kind of block as lines of styled text, of readable width in a terminal of any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records.document import Block, Bullets, FactList, FindingGroup, Paragraph, Phrase, Space, Table
from normdiag.records.figures import Chart
from normdiag.render.text.lines import BLANK, Line, StyledText, cells, pad, wrap
from normdiag.render.text.tables import table
from normdiag.render.text.view import MARGIN, STYLES, TextView


def block_lines(block: Block, view: TextView) -> Iterator[Line]:
    """A block of any kind."""
    match block:
        case Space():
            yield BLANK
        case Paragraph():
            yield from prose(block.phrases, view, indent=MARGIN * block.level)
        case FactList():
            yield from _labelled(block.rows, view, gap=2)
        case Bullets():
            yield from _labelled([(Phrase(view.bullet), Phrase(item)) for item in block.items], view, gap=1)
        case FindingGroup():
            yield from _findings(block, view)
        case Table():
            yield from table(block, view)
        case Chart():  # the table beside it has its numbers
            return


def prose(phrases: Sequence[Phrase], view: TextView, *, indent: int = MARGIN) -> Iterator[Line]:
    """A paragraph."""
    for line in wrap([_span(phrase, view) for phrase in phrases], view.prose - indent):
        yield (StyledText(" " * indent), *line)


def _span(phrase: Phrase, view: TextView) -> StyledText:
    return StyledText(view.safe(phrase.text), STYLES[phrase.role])


def _labelled(rows: Sequence[tuple[Phrase, Phrase]], view: TextView, *, gap: int) -> Iterator[Line]:
    """Label and text, texts aligned `gap` columns beside the longest label, or below it where that leaves no room."""
    spans = [(_span(label, view), _span(text, view)) for label, text in rows]
    width = max((cells(label.text) for label, _ in spans), default=0) + gap
    if view.prose - width < 24:
        for row in rows:
            for phrase, indent in zip(row, (MARGIN, 2 * MARGIN), strict=True):
                yield from prose([phrase], view, indent=indent)
        return
    for label, text in spans:
        for index, line in enumerate(wrap([text], view.prose - MARGIN - width)):
            first = pad((label,), width) if index == 0 else (StyledText(" " * width),)
            yield (StyledText(" " * MARGIN), *first, *line)


def _findings(group: FindingGroup, view: TextView) -> Iterator[Line]:
    """A rule, its findings under it, and the remedy."""
    indent = MARGIN * group.level
    inner = indent + MARGIN
    title = Phrase(f"{view.mark(group.severity)} {group.severity}", group.severity)
    yield from prose([title, Phrase(f"  {group.title}")], view, indent=indent)
    for message in group.messages:
        yield from prose([Phrase(message)], view, indent=inner)
    if group.hidden:
        yield from prose([Phrase(f"… and {group.hidden:,} more, --all shows them", "muted")], view, indent=inner)
    if group.remedy:
        yield from prose([Phrase("→ ", group.severity), Phrase(group.remedy)], view, indent=inner)
