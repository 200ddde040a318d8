"""Numbers and names as words: rounding, units, plurals, and text from files made safe to print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from normdiag.records import NormLayer, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
# The sign before what has a finding, so that nothing rests on colour alone.
MARKS: dict[Severity, str] = {"error": "✗", "warning": "!", "info": "i"}
KIND_WORDS: dict[str, tuple[str, str]] = {
    "batch_norm": ("batch norm", "batch"),
    "layer_norm": ("layer norm", "layer"),
    "instance_norm": ("instance norm", "inst"),
    "group_norm": ("group norm", "group"),
    "rms_norm": ("RMS norm", "rms"),
    "layer_or_group_norm": ("layer or group norm", "lay/grp"),
}

# A name longer than this is hostile or a mistake: its middle is left out, with the count of what was.
NAME_LIMIT = 240
# So is a message longer than this.
MESSAGE_LIMIT = 2000


# What stands in a table where nothing is known.
MISSING = "–"

# What ASCII writes instead of signs that messages use; anything else becomes an escape.
SPELLED = str.maketrans(
    {
        "✗": "x",
        "✓": "*",
        "─": "-",
        "±": "+/-",
        "…": "...",
        "→": "->",
        "–": "-",
        "·": "-",
        "×": "x",
        "²": "^2",
        "≥": ">=",
        "≤": "<=",
    }
)


def shortened(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """A text of more than `limit` characters without its middle, with the count of what is left out."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    return f"{head}...({len(text) - len(head) - len(tail):,} characters left out)...{tail}"


def short_name(text: str) -> str:
    """A name from a file; only one of hundreds of characters loses its middle."""
    return shortened(text, NAME_LIMIT)


def safe(text: str, *, ascii_only: bool = False, limit: int | None = None) -> str:
    """Text from a file as one printable line: control, format and bidi characters become visible escapes."""
    if limit is not None:
        text = shortened(text, limit)
    text = text.translate(SPELLED) if ascii_only else text
    return "".join(_escape(c) if not c.isprintable() or (ascii_only and not c.isascii()) else c for c in text)


def number(x: float | int | None) -> str:
    """Three significant digits, without an exponent where that stays short; '?' for what is not known."""
    if x is None:
        return "?"
    if not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    size = abs(x)
    if x == 0 or 1e-3 <= size < 1000:
        return f"{x:.3g}"
    return f"{x:,.0f}" if 1000 <= size < 1e6 else f"{x:.2g}"


def fixed(x: float, places: int | None = None) -> str:
    """A value for a column of its like: three decimals below 10, fewer above, so that the points line up."""
    if not math.isfinite(x):
        return number(x)
    if abs(x) >= 1e6:
        return f"{x:.2g}"
    return f"{x:,.{decimals(x) if places is None else places}f}"


def decimals(x: float) -> int:
    """How many decimals `fixed` gives a value."""
    size = abs(x)
    return 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0


def error_bar(x: float, error: float) -> str:
    """A standard error with the decimals of its value: '0.003', '<0.001', or '?' where it is not known."""
    if not math.isfinite(error):
        return "?"
    places = decimals(x) if math.isfinite(x) and abs(x) < 1e6 else 2
    smallest = 10.0**-places
    return f"<{smallest:.{places}f}" if 0 < error < smallest / 2 else fixed(error, places)


def with_error(x: float, error: float) -> str:
    """'0.118 ± 0.003'."""
    return f"{fixed(x)} ± {error_bar(x, error)}"


def aligned_errors(pairs: Sequence[tuple[float, float] | None]) -> list[str]:
    """`with_error` for a column: the plus-minus signs stand below each other."""
    cells = [None if pair is None else (fixed(pair[0]), error_bar(*pair)) for pair in pairs]
    left = max((len(cell[0]) for cell in cells if cell), default=0)
    right = max((len(cell[1]) for cell in cells if cell), default=0)
    return [MISSING if cell is None else f"{cell[0]:>{left}} ± {cell[1]:<{right}}" for cell in cells]


def percent(fraction: float | None) -> str:
    """'12.3%'; a small share is never shown as none, nor a large one as all."""
    if fraction is None or not math.isfinite(fraction):
        return number(fraction)
    share = 100.0 * fraction
    if 0 < share < 0.05:
        return "<0.1%"
    if 99.95 <= share < 100:
        return ">99.9%"
    return f"{share:,.0f}%" if abs(share) >= 1000 else f"{share:.1f}%"


def size_in_bytes(size: int) -> str:
    """'1.1 MB', in decimal units."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return count(size, "byte")


def kind_words(layer: NormLayer) -> str:
    """'batch norm'."""
    return KIND_WORDS[layer.kind][0]


def count(n: int, noun: str) -> str:
    """'1 layer', '1,000 layers'; the noun takes an -es after a hiss."""
    plural = f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def listed(words: Iterable[str], limit: int = 3) -> str:
    """'a, b and c', or 'a, b, c and 7 more'."""
    items = list(words)
    if len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit:,} more"
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def progress_words(done: float, total: float | None, rate: float | None, unit: str = "samples") -> str:
    """'320/1,000 samples, 51.3/s'."""
    amount = f"{done:,.0f}" if total is None else f"{done:,.0f}/{total:,.0f}"
    return f"{amount} {unit}" + (f", {number(rate)}/s" if rate else "")
