"""The layers in detail as one block of JSON that no browser runs and no name in it can end."""

from __future__ import annotations

import json
import math
from typing import Any

from normdiag.records.document import Document
from normdiag.records.figures import Histogram, LayerDetail, Scatter
from normdiag.report.words import safe, short_name

DIGITS = 4


def inert_json(document: Document) -> Any:
    """`focus`, `views` and `layers` as JSON for a script element of type application/json, numbers to 4 digits.

    A view is what layers of one sort have in common: the titles of their columns, and the scatters of these. The text
    is markup already: '<' and '&' are written as escapes, so that it stands in the page as it is.
    """
    from markupsafe import Markup

    views = list(dict.fromkeys(map(_view, document.layers)))
    names = [layer.name for layer in document.layers]
    content = {
        "focus": names.index(document.focus) if document.focus in names else -1,
        "views": [{"titles": titles, "scatters": list(map(_scatter, scatters))} for titles, scatters in views],
        "layers": [_layer(layer, views.index(_view(layer))) for layer in document.layers],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _scatter(scatter: Scatter) -> dict[str, Any]:
    return {"title": scatter.title, "x": scatter.x, "y": scatter.y, "diagonal": scatter.diagonal}


def _view(layer: LayerDetail) -> tuple[tuple[str, ...], tuple[Scatter, ...]]:
    return tuple(layer.columns or ()), layer.scatters


def _layer(layer: LayerDetail, view: int) -> dict[str, Any]:
    return {
        "name": safe(short_name(layer.name)),
        "kind": safe(layer.kind),
        "facts": [[safe(name), safe(value)] for name, value in layer.facts],
        "view": view,
        "columns": [[_rounded(x) for x in values] for values in (layer.columns or {}).values()],
        "hidden": layer.hidden,
        "histogram": None if layer.histogram is None else _histogram(layer.histogram),
        "before": _steps(layer.before),
        "after": _steps(layer.after),
    }


def _steps(steps: tuple[tuple[tuple[str, str], ...], ...]) -> list[list[list[str]]]:
    return [[[safe(short_name(name)), safe(kind)] for name, kind in step] for step in steps]


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "title": histogram.title,
        "unit": histogram.unit,
        "low": _rounded(histogram.low),
        "high": _rounded(histogram.high),
        "counts": list(histogram.counts),
        "agreement": None if histogram.agreement is None else _rounded(histogram.agreement),
    }


def _rounded(value: float) -> float | int | None:
    """To 4 significant digits; None where it is not finite."""
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e4 else rounded
