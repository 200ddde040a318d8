"""Lines of styled text: width, wrapping and colour.

Only what the report needs: rich would be imported for a fifth of the time that a whole static inspection may take, and
its layout is its own to change between versions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

# Select Graphic Rendition codes (ECMA-48, 8.3.117) of the 8 basic colours, which every terminal theme makes readable.
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class StyledText:
    """Text in one style: words of CODES, joined by spaces."""

    text: str
    style: str = ""


Line = tuple[StyledText, ...]
BLANK: Line = ()


def cells(text: str) -> int:
    """Columns of the terminal that printable text takes: two for wide characters, none for combining marks."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def fitting(text: str, width: int) -> int:
    """How many leading characters fit into `width` columns; at least one."""
    if text.isascii():
        return max(min(len(text), width), 1)
    used = 0
    for index, character in enumerate(text):
        used += _cell(character)
        if used > width:
            return max(index, 1)
    return len(text)


def wrap(spans: Sequence[StyledText], width: int) -> list[Line]:
    """Lines of at most `width` columns, broken at spaces, and within words that are longer than a line."""
    text = "".join(span.text for span in spans)
    styles = [span.style for span in spans for _ in span.text]
    lines, start = [], 0
    while start < len(text):
        end = start + fitting(text[start:], width)
        if end < len(text):
            space = text.rfind(" ", start, end + 1)
            end = space if text[start : max(space, start)].strip() else end
        lines.append(_slice(text, styles, start, end))
        start = len(text) - len(text[end:].lstrip(" "))
    return lines or [BLANK]


def pad(line: Line, width: int, *, right: bool = False) -> Line:
    """A line filled with spaces to `width` columns; `right` puts the text to the right."""
    space = StyledText(" " * (width - sum(cells(span.text) for span in line)))
    return (space, *line) if right else (*line, space)


def paint(lines: Iterable[Line], *, color: bool) -> str:
    """The text, in colour or plain, without spaces at line ends; every line ends in a newline."""
    return "".join("".join(_escape(span, color) for span in _stripped(line)) + "\n" for line in lines)


def _cell(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _slice(text: str, styles: Sequence[str], start: int, end: int) -> Line:
    runs = groupby(range(start, end), key=lambda index: styles[index])
    return tuple(StyledText("".join(text[index] for index in run), style) for style, run in runs)


def _stripped(line: Line) -> Line:
    while line and not line[-1].text.strip(" "):
        line = line[:-1]
    return (*line[:-1], StyledText(line[-1].text.rstrip(" "), line[-1].style)) if line else line


def _escape(span: StyledText, color: bool) -> str:
    if not color or not span.style:
        return span.text
    codes = ";".join(CODES[word] for word in span.style.split())
    return f"\x1b[{codes}m{span.text}\x1b[0m"
