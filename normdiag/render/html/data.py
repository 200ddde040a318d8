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
    """`focus`, `scatters` and `layers` as JSON for a script element of type application/json, numbers to 4 digits.

    It is markup already: '<' and '&' are written as escapes, so that it stands in the page as it is.
    """
    from markupsafe import Markup

    scatters = list(dict.fromkeys(scatter for layer in document.layers for scatter in layer.scatters))
    names = [layer.name for layer in document.layers]
    content = {
        "focus": names.index(document.focus) if document.focus in names else -1,
        "scatters": [_scatter(each) for each in scatters],
        "layers": [_layer(layer, scatters) for layer in document.layers],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _scatter(scatter: Scatter) -> dict[str, Any]:
    return {"title": scatter.title, "x": scatter.x, "y": scatter.y, "diagonal": scatter.diagonal}


def _layer(layer: LayerDetail, scatters: list[Scatter]) -> dict[str, Any]:
    return {
        "name": safe(short_name(layer.name)),
        "kind": safe(layer.kind),
        "facts": [[safe(name), safe(value)] for name, value in layer.facts],
        "columns": {title: [_rounded(x) for x in values] for title, values in (layer.columns or {}).items()},
        "hidden": layer.hidden,
        "scatters": [scatters.index(each) for each in layer.scatters],
        "histogram": None if layer.histogram is None else _histogram(layer.histogram),
        "before": [[safe(short_name(name)), safe(kind)] for name, kind in layer.before],
        "after": [[safe(short_name(name)), safe(kind)] for name, kind in layer.after],
    }


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "title": histogram.title,
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
