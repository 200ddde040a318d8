"""What every result can do: say itself in a line, print itself, show itself in a notebook, be written to a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, overload

from normdiag.records.document import Document, Paragraph
from normdiag.report.abridge import Detail
from normdiag.terminal import is_ascii_only, terminal_width, wants_color

Result = TypeVar("Result")


class Shown:
    """A result that is read by people.

    `show()` prints what the command prints, `to_html()` is what `--report html=` writes and `to_json()` what `--json`
    prints; in a notebook it is the first screen of the page.
    """

    def document(self, detail: Detail | None = None) -> Document:
        """What it says, without how it looks."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The JSON document as plain dicts, lists, strings and finite numbers."""
        raise NotImplementedError

    def headline(self) -> str:
        """What it comes to, in a line: what its summary begins with."""
        summary = next((each for each in self.document().sections if each.title.startswith("Summary")), None)
        texts = (block for block in (summary.blocks if summary else ()) if isinstance(block, Paragraph))
        return next(("".join(phrase.text for phrase in block.phrases) for block in texts), "")

    def show(self, *, all_layers: bool = False, channels: str | None = None, color: bool | None = None) -> None:
        """Print what the command prints: `all_layers` as with --all, `channels` those of the layer of that name.

        Colour is used where stdout is a terminal that has it, unless `color` says otherwise. Raises UsageError where
        there is no layer of that name.
        """
        from normdiag.render.text import render_text

        document = self.document(Detail(all_layers, channels))
        ascii_only = is_ascii_only()
        text = render_text(document, width=terminal_width(), color=wants_color(color), ascii_only=ascii_only)
        print(text, end="")

    @overload
    def to_json(self, path: None = None) -> str: ...
    @overload
    def to_json(self, path: str | Path) -> Path: ...
    def to_json(self, path: str | Path | None = None) -> str | Path:
        """The JSON document as text or, with a `path`, in a file that is written whole or not at all."""
        from normdiag.render.json import dump

        return _given(dump(self.to_dict()), path)

    @overload
    def to_html(self, path: None = None, *, all_layers: bool = False) -> str: ...
    @overload
    def to_html(self, path: str | Path, *, all_layers: bool = False) -> Path: ...
    def to_html(self, path: str | Path | None = None, *, all_layers: bool = False) -> str | Path:
        """One page that asks nothing of anybody, as text or, with a `path`, in a file that is written whole or not.

        `all_layers` as with --all.
        """
        from normdiag.render.html import render_html

        return _given(render_html(self.document(Detail(all_layers, figures=True))), path)

    def _repr_html_(self) -> str:
        """The first screen of that page, collapsible, for notebooks."""
        from normdiag.render.html import first_screen

        return first_screen(self.document())

    def __repr__(self) -> str:
        """One line, whatever the size of the model."""
        from normdiag.report.words import safe

        return f"<{type(self).__name__}: {safe(self.headline(), limit=400)}>"


def result_of(kind: type[Result], report: Any) -> Result:
    """A report as a result, which is a report with more to it."""
    return kind(**{each.name: getattr(report, each.name) for each in fields(report)})


def _given(text: str, path: str | Path | None) -> str | Path:
    if path is None:
        return text
    from normdiag.writing.atomic import check_place, replacing

    check_place(Path(path), "the path")
    with replacing(Path(path)) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return Path(path)
