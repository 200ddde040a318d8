"""How a report is shown: width, glyphs and which details. Every part of the text gets one View."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records import NormLayer, Severity
from normdiag.render.words import MESSAGE_LIMIT, NAME_LIMIT, safe

MARGIN = 2
# Prose wider than this is hard to read, however wide the terminal.
PROSE_WIDTH = 110
STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Glyphs:
    """The characters beyond letters that the text uses."""

    plus_minus: str = "±"
    ellipsis: str = "…"
    dot: str = "·"
    line: str = "─"
    arrow: str = "→"
    missing: str = "–"
    error: str = "✗"


UNICODE = Glyphs()
ASCII = Glyphs("+/-", "...", "|", "-", "->", "-", "x")


@dataclass(frozen=True)
class View:
    """The options of one rendering. `channels` is the layer whose channels are shown."""

    width: int
    all_layers: bool = False
    channels: str | None = None
    glyphs: Glyphs = UNICODE

    @property
    def ascii_only(self) -> bool:
        """Whether nothing but ASCII may be printed."""
        return self.glyphs is ASCII

    @property
    def prose(self) -> int:
        """Columns for running text."""
        return min(self.width, PROSE_WIDTH)

    def safe(self, text: str) -> str:
        """Text from a file or a rule, printable on one line."""
        return safe(text, ascii_only=self.ascii_only, limit=MESSAGE_LIMIT)

    def name(self, text: str) -> str:
        """A name from a file, printable on one line; only one of hundreds of characters loses its middle."""
        return safe(text, ascii_only=self.ascii_only, limit=NAME_LIMIT)

    def mark(self, severity: Severity | None) -> str:
        """The sign before a row that has a finding, so that nothing rests on colour alone."""
        marks = {"error": self.glyphs.error, "warning": "!", "info": "i"}
        return marks[severity] if severity else ""


KIND_WORDS: dict[str, tuple[str, str]] = {
    "batch_norm": ("batch norm", "batch"),
    "layer_norm": ("layer norm", "layer"),
    "instance_norm": ("instance norm", "inst"),
    "group_norm": ("group norm", "group"),
    "rms_norm": ("RMS norm", "rms"),
    "layer_or_group_norm": ("layer or group norm", "lay/grp"),
}


def kind_words(layer: NormLayer) -> str:
    """'batch norm'."""
    return KIND_WORDS[layer.kind][0]
