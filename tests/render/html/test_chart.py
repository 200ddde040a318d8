"""Charts: where bars and ticks stand, and what is said of them."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.records.figures import Chart, Limit, Series
from normdiag.render.html.axis import place_labels
from normdiag.render.html.chart import BASE, TOP, chart_svg, shown_limits
from normdiag.render.html.scale import scale_of
from tests.render.html.pages import Page

NUMBER = st.floats(allow_nan=False)


def bars(svg: str, series: int = 1) -> list[tuple[float, float]]:
    """Foot and top of each bar of a series."""
    path = re.search(rf'class="bar s{series}" d="([^"]*)"', svg)
    assert path
    return [(float(foot), float(top)) for foot, top in re.findall(r"M\S+ (\S+?)V([\d.-]+)h", path[1])]


def chart(*values: float, errors: tuple[float, ...] = (), **more: object) -> Chart:
    series = (Series("drift", values, errors),)
    return Chart("Drift", "sd", [f"bn{i}" for i in range(len(values))], series, **more)  # type: ignore[arg-type]


def test_bars_are_as_high_as_their_values() -> None:
    drawn = bars(chart_svg(chart(1.0, 2.0, 0.0, 0.5), {}))
    heights = [foot - top for foot, top in drawn]
    assert all(foot == BASE for foot, _ in drawn)
    assert heights == pytest.approx([heights[1] / 2, heights[1], 0, heights[1] / 4], abs=0.2)
    assert max(heights) <= BASE - TOP


def test_negative_bars_hang_below_the_line_of_zero() -> None:
    (foot, top), (other, low) = bars(chart_svg(chart(1.0, -1.0), {}))
    assert foot == other and top < foot < low


def test_error_bars_reach_as_far_as_the_errors() -> None:
    svg = str(chart_svg(chart(1.0, 2.0, errors=(0.5, math.inf)), {}))
    found = re.search(r'class="error" d="M\S+ ([\d.]+)V([\d.]+)"', svg)
    assert found  # of the first alone: an infinite one is not drawn
    (foot, top), _ = bars(svg)
    assert float(found[1]) - float(found[2]) == pytest.approx(foot - top, abs=0.2)


def test_values_that_are_not_finite_leave_a_gap() -> None:
    svg = chart_svg(chart(1.0, math.nan, math.inf, 2.0), {})
    assert len(bars(svg)) == 2
    assert len(Page(str(svg)).attributes("rect")) == 4
    assert "nan" not in svg.lower().replace("title", "")


@pytest.mark.parametrize("values", [(), (math.nan,), (0.0,), (0.0, 0.0), (5.0,)])
@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("form", ["bars", "grouped", "lines"])
def test_nothing_to_draw_is_drawn_all_the_same(values: tuple[float, ...], logarithmic: bool, form: str) -> None:
    Page(str(chart_svg(chart(*values, logarithmic=logarithmic, form=form), {})))


def test_a_layer_that_can_be_chosen_says_which_it_is() -> None:
    page = Page(str(chart_svg(chart(1.0, 2.0), {"bn1": 7})))
    assert [each.get("data-layer") for each in page.attributes("rect")] == [None, "7"]
    assert page.text[-2:] == ["bn0: 1", "bn1: 2"]


def test_the_layers_at_fault_are_marked_and_the_first_is_named() -> None:
    page = Page(str(chart_svg(chart(1.0, 2.0, 3.0, marked=frozenset({"bn1", "bn2"})), {})))
    assert sum(each.get("class") == "mark" for each in page.attributes("path")) == 2
    assert sum(each.get("class") == "mark" for each in page.attributes("text")) == 1


def test_a_limit_far_above_all_values_does_not_squeeze_them() -> None:
    near, far = (chart(0.3, limits=(Limit(value, "reported"),)) for value in (0.5, 50.0))
    assert "limit" in chart_svg(near, {}) and "limit" not in chart_svg(far, {})
    assert (len(shown_limits(near)), len(shown_limits(far))) == (1, 0)


def test_those_who_do_not_see_it_hear_the_range() -> None:
    (drawing,) = Page(str(chart_svg(chart(1.0, 3.0), {}))).attributes("svg")
    assert drawing["role"] == "img"
    assert drawing["aria-label"] == "Drift: drift from 1 to 3, largest at bn1. The table has all numbers."


@given(st.lists(NUMBER, max_size=20), st.booleans())
def test_every_value_lies_on_its_axis_and_in_order(values: list[float], logarithmic: bool) -> None:
    scale = scale_of(values, 100.0, logarithmic=logarithmic)
    places = [scale(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    ticks = [value for value, _ in scale.ticks()]
    assert 1 <= len(ticks) <= 12 and ticks == sorted(ticks)
    room = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - room <= tick <= scale.high + room for tick in ticks)


def test_places_are_named_where_there_is_room_else_their_parts() -> None:
    assert [label.text for label in place_labels(["bn1", "bn2"], 900)] == ["bn1", "bn2"]
    names = [f"net.layer{s}.{b}.bn{i}" for s in (1, 2, 3) for b in range(6) for i in (1, 2)]
    labels = place_labels(names, 900)
    assert [label.text for label in labels] == ["layer1", "layer2", "layer3"]
    assert [label.start for label in labels] == [0.0, 300.0, 600.0]


def test_places_without_parts_are_numbered() -> None:
    labels = place_labels([f"norm_{i:05}" for i in range(1000)], 900)
    assert [label.text for label in labels] == [f"{n}" for n in range(100, 1001, 100)]


@given(st.lists(st.text("ab.", max_size=6), max_size=60))
def test_labels_stay_on_the_axis(names: list[str]) -> None:
    for label in place_labels(names, 900.0):
        assert 0 <= label.start <= label.middle <= 900


def test_a_line_ends_where_its_values_leave_the_axis() -> None:
    values = tuple(0.25**depth for depth in range(40))
    svg = chart_svg(chart(*values, form="lines", logarithmic=True), {})
    path = re.search(r'class="line s1" d="([^"]*)"', svg)
    assert path
    heights = [float(y) for y in re.findall(r"[ML]\S+ ([\d.]+?)h0", path[1])]
    assert len(heights) < 20 and heights == sorted(heights)
    steps = {round(b - a, 0) for a, b in pairwise(heights)}
    assert len(steps) <= 2  # a straight line down to its end


def test_too_many_parts_to_read_are_not_named() -> None:
    labels = place_labels([f"b{i}.{j}" for i in range(30) for j in range(4)], 2000.0)
    assert [label.text for label in labels] == [f"{n}" for n in range(10, 121, 10)]
