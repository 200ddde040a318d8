"""A chart as SVG, drawn here so that it prints, and shows where scripts are not allowed.

One path holds all bars of a series, so that a thousand layers take some twenty bytes each; what answers to the pointer
lies above it, a rectangle for each place with its numbers as a title.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from normdiag.records.figures import Chart, Limit, Series
from normdiag.render.html.axis import place_labels
from normdiag.render.html.scale import Scale, scale_of
from normdiag.report.words import number, safe, short_name, with_error

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 960.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 8.0, 34.0, 30.0
PLOT, BASE = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM
# The share of a place that the bars of the first series take, and of the next ones, drawn over it.
BAR, NARROWER = 0.78, 0.5
# With more places than this, error bars would only blacken the chart.
MOST_ERRORS = 300
# The style has so many: classes s0 to s5.
COLOURS = 6
CHARACTER = 6.4


def chart_svg(chart: Chart, anchors: Mapping[str, int]) -> Markup:
    """The drawing, for the inside of a figure that names its series; `anchors` are the layers that can be chosen."""
    from markupsafe import Markup

    values = [value for series in chart.series for value in series.values]
    tops = [value + error for s in chart.series for value, error in zip(s.values, s.errors, strict=False)]
    limits = [limit.value for limit in shown_limits(chart)]
    scale = scale_of([*values, *tops, *limits], BASE - TOP, logarithmic=chart.logarithmic)
    parts = (
        *_frame(chart, scale),
        *(part for index, each in enumerate(chart.series) for part in _series(chart, each, index, scale)),
        *_limits(chart, scale),
        *_marks(chart, scale),
        *_hits(chart, anchors),
    )
    label = safe(f"{chart.title}: {_summary(chart)}")
    opening = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return opening + Markup("").join(parts) + Markup("</svg>")


def _summary(chart: Chart) -> str:
    """What there is to see, for those who do not: the range of each series and where it is largest."""
    return "; ".join(filter(None, (_range(chart, series) for series in chart.series))) + ". The table has all numbers."


def _range(chart: Chart, series: Series) -> str:
    known = [(value, place) for value, place in zip(series.values, chart.places, strict=True) if math.isfinite(value)]
    if not known:
        return ""
    (low, _), (high, where) = min(known), max(known)
    return f"{series.title} from {number(low)} to {number(high)}, largest at {_name(where)}"


def _frame(chart: Chart, scale: Scale) -> Iterator[Markup]:
    """Lines across at the ticks, the unit above them, the names of places below."""
    from markupsafe import Markup

    for value, word in scale.ticks():
        y = _number(BASE - scale(value))
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(_number(LEFT), y, _number(WIDTH - RIGHT))
        yield Markup('<text class="tick" x="{}" y="{}" dy=".32em">{}</text>').format(_number(LEFT - 6), y, word)
    yield Markup('<text class="unit" x="0" y="11">{}</text>').format(chart.unit)
    for label in place_labels(chart.places, PLOT):
        x = _number(LEFT + label.middle)
        yield Markup('<text class="place" x="{}" y="{}">{}</text>').format(x, _number(BASE + 18), safe(label.text))
        if label.start > 0:
            x = _number(LEFT + label.start)
            yield Markup('<path class="part" d="M{} {}V{}"/>').format(x, _number(TOP), _number(BASE + 6))


def shown_limits(chart: Chart) -> list[Limit]:
    """The limits that are drawn: one far above all values would squeeze them."""
    known = [value for series in chart.series for value in series.values if math.isfinite(value)]
    return [limit for limit in chart.limits if limit.value <= 2 * max(known, default=0.0)]


def _limits(chart: Chart, scale: Scale) -> Iterator[Markup]:
    from markupsafe import Markup

    for limit in shown_limits(chart):
        y = _number(BASE - scale(limit.value))
        yield Markup('<path class="limit" d="M{} {}H{}"/>').format(_number(LEFT), y, _number(WIDTH - RIGHT))


def _series(chart: Chart, series: Series, index: int, scale: Scale) -> Iterator[Markup]:
    from markupsafe import Markup

    lines = chart.form == "lines"
    path = _line(chart, series, scale) if lines else _bars(chart, series, index, scale)
    yield Markup('<path class="{} s{}" d="{}"/>').format("line" if lines else "bar", _colour(chart, index), path)
    if series.errors and len(chart.places) <= MOST_ERRORS:
        yield Markup('<path class="error" d="{}"/>').format(_errors(chart, series, index, scale))


def _bars(chart: Chart, series: Series, index: int, scale: Scale) -> str:
    base, width = BASE - scale(0.0), _bar_width(chart, index)
    return "".join(
        f"M{_number(x - width / 2)} {_number(base)}V{_number(BASE - scale(value))}h{_number(width)}V{_number(base)}z"
        for x, value in _points(chart, series, index)
    )


def _line(chart: Chart, series: Series, scale: Scale) -> str:
    """A line through the places, broken where nothing is known or the value is off the axis, with a dot on each."""
    parts, pen = [], "M"
    for place, value in enumerate(series.values):
        if scale.shows(value):
            parts.append(f"{pen}{_number(_x(chart, place))} {_number(BASE - scale(value))}h0")
        pen = "L" if scale.shows(value) else "M"
    return "".join(parts)


def _errors(chart: Chart, series: Series, index: int, scale: Scale) -> str:
    known = {x: error for (x, _), error in zip(_all_points(chart, series, index), series.errors, strict=True)}
    return "".join(
        f"M{_number(x)} {_number(BASE - scale(value - known[x]))}V{_number(BASE - scale(value + known[x]))}"
        for x, value in _points(chart, series, index)
        if math.isfinite(known[x]) and known[x] > 0
    )


def _points(chart: Chart, series: Series, index: int) -> list[tuple[float, float]]:
    """The middle of each bar or dot with its value, where that is finite."""
    return [(x, value) for x, value in _all_points(chart, series, index) if math.isfinite(value)]


def _all_points(chart: Chart, series: Series, index: int) -> Iterator[tuple[float, float]]:
    aside = 0.0
    if chart.form == "grouped":
        aside = (index - (len(chart.series) - 1) / 2) * _bar_width(chart, index)
    for place, value in enumerate(series.values):
        yield _x(chart, place) + aside, value


def _bar_width(chart: Chart, index: int) -> float:
    whole = BAR * _slot(chart)
    return whole / len(chart.series) if chart.form == "grouped" else whole * NARROWER**index


def _slot(chart: Chart) -> float:
    return min(PLOT / max(len(chart.places), 1), 72.0)


def _x(chart: Chart, place: int) -> float:
    return LEFT + PLOT * (place + 0.5) / max(len(chart.places), 1)


def _marks(chart: Chart, scale: Scale) -> Iterator[Markup]:
    """A sign above the places at fault; the first is named."""
    from markupsafe import Markup

    named = False
    for place, name in enumerate(chart.places):
        if name not in chart.marked:
            continue
        top = max((s.values[place] for s in chart.series if math.isfinite(s.values[place])), default=0.0)
        x, y = _x(chart, place), max(BASE - scale(top) - 8, TOP - 6)
        yield Markup('<path class="mark" d="M{} {}l-5 -8h10z"/>').format(_number(x), _number(y))
        if not named:
            text = _name(name)
            right = x + 9 + CHARACTER * len(text) < WIDTH
            end, at = ("start", x + 9) if right else ("end", x - 9)
            yield Markup('<text class="mark" x="{}" y="{}" text-anchor="{}">{}</text>').format(
                _number(at), _number(y - 1), end, text
            )
            named = True


def _hits(chart: Chart, anchors: Mapping[str, int]) -> Iterator[Markup]:
    """A rectangle for each place, with its numbers: what a pointer rests on or chooses."""
    from markupsafe import Markup

    width = PLOT / max(len(chart.places), 1)
    for place, name in enumerate(chart.places):
        said = ", ".join(filter(None, (_said(chart, series, place) for series in chart.series)))
        layer = Markup(' data-layer="{}"').format(anchors[name]) if name in anchors else ""
        yield Markup('<rect class="hit"{} x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
            layer,
            _number(LEFT + place * width),
            _number(TOP),
            _number(width),
            _number(BASE - TOP),
            f"{_name(name)}: {said}" if said else _name(name),
        )


def _said(chart: Chart, series: Series, place: int) -> str:
    value = series.values[place]
    if math.isnan(value):
        return ""
    words = with_error(value, series.errors[place]) if series.errors else number(value)
    return f"{series.title} {words}" if len(chart.series) > 1 else words


def _name(name: str) -> str:
    return safe(short_name(name))


def _number(value: float) -> str:
    """A coordinate with one decimal, two where all are small."""
    return f"{value:.1f}".removesuffix(".0")


def series_names(chart: Chart) -> Sequence[tuple[int, str]]:
    """The series with their colours, for the legend; none where one alone is named by the title."""
    if len(chart.series) == 1 and chart.series[0].title in chart.title.lower():
        return []
    return [(_colour(chart, index), each.title) for index, each in enumerate(chart.series)]


def _colour(chart: Chart, index: int) -> int:
    """The first colour is pale, for the bars behind others alone."""
    return index % COLOURS if chart.form == "bars" and chart.series[1:] else 1 + index % (COLOURS - 1)
