"""Pages in a real browser: silent, without requests, usable with a pointer, the keyboard and a screen reader.

Needs the extra `browser` and a Chromium: that of the system, or NORMDIAG_CHROMIUM.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from normdiag.records import Diagnosis, Neighbours, Remedy
from normdiag.records.document import Document
from normdiag.render.html import first_screen, render_html
from normdiag.report.inspect import inspect_document
from tests.render.html.large import thousand_norms
from tests.render.html.pages import MARKUP, PAGE, documents, with_layers_called
from tests.report.reports import faulty

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DOCUMENTS = documents()
SHOWN = (
    "inspect_faulty",
    "inspect_transformer",
    "inspect_static",
    "inspect_hostile",
    "fold_mixed",
    "recalibrate_repaired",
    "check_several",
    "diff_parted",
    "history_training",
)
VIEWS = {"light": (1200, 900), "dark": (400, 800)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium; skips where there is none, or nothing to drive it with."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    executable = os.environ.get("NORMDIAG_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium is installed: apt-get install chromium, or NORMDIAG_CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a text as a page; whatever it says on the console, and every request, fails the test."""
    heard: list[str] = []
    contexts = []

    def opened(
        text: str, theme: str = "light", size: tuple[int, int] = (1200, 900), *, quiet: bool = True, **options: Any
    ) -> Any:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text) if quiet else None)
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert heard == []


def serious(page: Any) -> list[str]:
    """What axe-core finds of serious or critical impact."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    bad = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html']} {node['failureSummary']}" for each in bad for node in each["nodes"]]


@pytest.mark.parametrize("theme", VIEWS)
@pytest.mark.parametrize("name", SHOWN)
def test_it_fits_and_can_be_read_by_all(open_page: Callable[..., Any], name: str, theme: str) -> None:
    page = open_page(render_html(DOCUMENTS[name]()), theme, VIEWS[theme])
    assert page.evaluate("document.documentElement.scrollWidth") <= VIEWS[theme][0]
    assert serious(page) == []


def with_neighbours() -> Document:
    report = faulty()
    names = [m.layer.name for m in report.layers]
    beside = Neighbours(names[7], ((("conv1", "conv"),),), ((("relu", "Relu"),), ((names[8], "norm"),)))
    remedy = Remedy("recalibrate", "Recalibrate.", "normdiag recalibrate 'a b.pt' --data train/ -o fixed.pt")
    cause = Diagnosis("foreign_statistics", (names[7],), "high", "error", "One layer is off.", "it is", remedy)
    return inspect_document(replace(report, neighbours=(beside,), diagnosis=(cause,)), PAGE)


def heading(page: Any) -> str:
    text: str = page.inner_text("#layer h3")
    return text.partition(",")[0]


def shows(page: Any, name: str) -> bool:
    """Whether it comes to show this layer: a browser follows keys and links in its own time."""
    page.wait_for_function("name => document.querySelector('#layer h3').innerText.split(',')[0] === name", arg=name)
    return heading(page) == name


def test_a_layer_is_shown_on_a_click_in_a_chart_or_a_table_and_by_keys(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_neighbours()))
    names = [m.layer.name for m in faulty().layers]
    assert shows(page, names[7])
    page.click("rect[data-layer='20'] >> nth=0")
    assert shows(page, names[20])
    assert "chosen" in page.get_attribute("rect[data-layer='20'] >> nth=0", "class")
    page.keyboard.press("ArrowRight")
    assert shows(page, names[21])
    page.focus(f"a:text-is('{names[3]}') >> nth=0")
    page.keyboard.press("Enter")
    assert shows(page, names[3])
    page.select_option("#layer select", str(len(names) - 1))
    assert shows(page, names[-1]) and page.is_disabled("button:text-is('Next')")
    page.go_back()
    assert shows(page, names[3])
    page.reload()
    assert shows(page, names[3])


def test_markup_in_names_is_shown_as_text(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_layers_called(*MARKUP)))
    for index, name in enumerate(MARKUP):
        page.select_option("#layer select", str(index))
        assert page.inner_text("#layer h3").startswith(f"{name}, batch norm")
        assert name in page.inner_text("#layer .beside")
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


def test_nothing_else_runs_even_where_it_got_in(open_page: Callable[..., Any]) -> None:
    """What the policy is for: a handler and a script that were put in by force do nothing."""
    text = render_html(with_layers_called("bn"))
    page = open_page(text.replace("</main>", "<script>document.title = 'run'</script></main>"), quiet=False)
    assert page.title() == "normdiag inspect: resnet20.th"


def test_a_layer_shows_its_channels_and_its_neighbours(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_neighbours()))
    figures = page.locator("#layer figure")
    assert figures.count() == 4
    assert figures.nth(0).locator("circle").count() == 16
    assert page.locator("#layer tbody tr").count() == 12
    page.click("button:text-is('Show 16 channels')")
    assert page.locator("#layer tbody tr").count() == 16
    assert page.inner_text("#layer .beside").split("\n")[0].startswith("conv1")
    page.click("#layer .beside a")
    assert heading(page) == faulty().layers[8].layer.name


def test_points_lie_where_their_values_say(open_page: Callable[..., Any]) -> None:
    """On the diagonal where stored and observed agree: right of the left end by as much as above the lower."""
    page = open_page(render_html(with_neighbours()))
    script = """() => [...document.querySelectorAll('#layer figure:first-child circle')].map((dot) => {
        const [stored, observed] = dot.textContent.match(/-?[\\d.]+(?:e-?\\d+)?(?=,|$)/g).map(Number);
        return [stored, observed, Number(dot.getAttribute('cx')), -Number(dot.getAttribute('cy'))];
    })"""
    points = page.evaluate(script)
    across = sorted((stored, x) for stored, _, x, _ in points)
    up = sorted((observed, y) for _, observed, _, y in points)
    for values in (across, up):
        slopes = {round((b[1] - values[0][1]) / (b[0] - values[0][0]), 0) for b in values[-3:]}
        assert len(slopes) <= 2 and min(slopes) > 0


def test_commands_are_copied(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_neighbours()), permissions=["clipboard-read", "clipboard-write"])
    page.click("button.copy >> nth=0")
    page.wait_for_selector("button:text-is('Copied')")
    assert page.evaluate("navigator.clipboard.readText()").startswith("normdiag recalibrate 'a b.pt'")


def test_without_scripts_the_overview_is_there_and_says_how_to_see_more(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_neighbours()), java_script_enabled=False)
    assert page.is_visible("figure.chart svg path.bar") and page.is_visible("table")
    assert "--channels LAYER" in page.inner_text("#layer")
    assert not page.locator("button.copy").first.is_visible()


def test_printed_tables_are_whole(open_page: Callable[..., Any]) -> None:
    page = open_page(render_html(with_neighbours()), theme="dark")
    cut = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollHeight > e.clientHeight + 1).length"
    assert page.evaluate(cut) > 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(cut) == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_fragment_of_a_notebook_fits_and_collapses(open_page: Callable[..., Any]) -> None:
    text = first_screen(with_neighbours())
    page = open_page(f'<!doctype html><html lang="en"><title>x</title><main>{text}</main></html>', size=(500, 800))
    assert page.is_visible(".answer") and serious(page) == []
    page.click("summary")
    assert not page.is_visible(".answer")


def test_a_thousand_norms_are_painted_within_a_second(open_page: Callable[..., Any]) -> None:
    """The best of a few, since other work on the machine only adds to it."""
    page = open_page(render_html(inspect_document(thousand_norms(), PAGE)))
    times = []
    while len(times) < 5 and min(times, default=1000) >= 1000:
        page.reload()
        page.wait_for_selector("#layer h3")
        times.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(times) < 1000
