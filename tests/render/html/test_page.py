"""The page: complete in itself, inert, and with all that the text says."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import numpy as np
import pytest

from normdiag.records import LayerMetrics, Report
from normdiag.records.document import Document, Paragraph, Phrase, Section
from normdiag.render.html import first_screen, render_html
from normdiag.report.abridge import Detail
from normdiag.report.inspect import inspect_document
from tests.render.html.large import thousand_norms
from tests.render.html.pages import MARKUP, PAGE, Page, documents, with_layers_called
from tests.report.reports import batch_norm, faulty, healthy, random_drift
from tests.report.texts import inspect_text

DOCUMENTS = documents()


def hash_of(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_policy_allows_its_own_style_and_script_and_no_request(name: str) -> None:
    page = Page(render_html(DOCUMENTS[name]()))
    metas = page.attributes("meta")
    policy = next(each["content"] for each in metas if each.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": hash_of(page.sources["style"][0]),
        "script-src": hash_of(page.sources["script"][-1]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(page.sources["style"]) == 1
    inert = [each for each in page.attributes("script") if each.get("type") == "application/json"]
    assert len(page.sources["script"]) == 1 + len(inert)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_leads_out_of_it_or_runs(name: str) -> None:
    page = Page(render_html(DOCUMENTS[name]()))
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
        assert not any(key.startswith("on") or key in ("style", "src", "srcset") for key in attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_markup_in_a_name_stays_text() -> None:
    plain = Page(render_html(with_layers_called(*"abcde")))
    page = Page(render_html(with_layers_called(*MARKUP)))
    kinds = [{(tag, *attributes) for tag, attributes in each.elements} for each in (page, plain)]
    assert kinds[0] == kinds[1]
    assert page.sources["script"][-1] == plain.sources["script"][-1]
    assert [layer["name"] for layer in page.data["layers"]] == list(MARKUP)
    assert all(name in page.words for name in MARKUP)


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    page = Page(render_html(DOCUMENTS["inspect_hostile"]()))
    everything = page.words + page.sources["script"][0]
    assert all(character.isprintable() for character in everything)
    assert "\\u202e" in page.words and "\\ud800" in page.words
    assert "characters left out" in page.words


@pytest.mark.parametrize("report", [healthy(), faulty()], ids=["healthy", "faulty"])
def test_it_says_every_word_that_the_text_says(report: Report) -> None:
    """But for the lines that say what is left out, which the page shows."""
    page = set(Page(render_html(inspect_document(report, PAGE))).words.split())
    lines = inspect_text(report, width=10_000, color=False).splitlines()
    words = {word for line in lines if "--all" not in line for word in line.split()}
    signs = {word for word in words if word in "✗!i→·" or set(word) == {"─"}}
    assert words - page - signs == {"Summary"}


def test_every_layer_is_in_its_tables_whatever_their_number() -> None:
    page = Page(render_html(inspect_document(faulty(), PAGE)))
    links = {attributes.get("href") for attributes in page.attributes("a")}
    assert {f"#layer-{index}" for index in range(len(faulty().layers))} <= links
    assert len(page.data["layers"]) == len(faulty().layers) == 55
    assert "--all" not in page.words


def test_numbers_have_four_digits_and_those_that_are_none_are_null() -> None:
    drift = random_drift(1, 4, 0.1)
    drift = replace(drift, corrected_d=np.array([np.nan, 0.123456, 12345.6, np.inf]))
    layers = (LayerMetrics(batch_norm("bn", 4), 1, drift),)
    data = Page(render_html(inspect_document(replace(healthy(), layers=layers), PAGE))).data
    (layer,), (view,) = data["layers"], data["views"]
    assert set(map(str, layer["columns"][view["titles"].index("drift")])) == {"None", "0.1235", "12350.0"}


def test_it_opens_at_the_layer_that_drifts_most() -> None:
    data = Page(render_html(inspect_document(faulty(), PAGE))).data
    assert data["layers"][data["focus"]]["name"] == "layer1.3.bn1"


def test_findings_that_the_first_screen_leaves_out_stand_below() -> None:
    words = Page(render_html(inspect_document(faulty(), PAGE))).words
    assert "and 3 more, below" in words
    assert words.count("layer1.6.bn1: drift 0.5") == 1
    assert "All findings" not in Page(render_html(inspect_document(healthy(), PAGE))).words


def test_the_first_screen_alone_is_a_fragment_without_script() -> None:
    text = first_screen(inspect_document(faulty(), Detail()))
    page = Page(text)
    assert page.elements[0] == ("div", {"class": "normdiag fragment"})
    assert not page.sources["script"] and ("details", {"open": None}) in page.elements
    assert "Problem: 1 error" in page.words and "models/resnet20.th" in page.words
    assert "Stored statistics against" not in page.words
    assert len(text) < 20_000


def test_it_is_titled_by_what_it_is_about() -> None:
    titles = {"diff_parted": "net.pt and net.onnx", "inspect_healthy": "resnet20.th", "check_several": "normdiag check"}
    for name, title in titles.items():
        page = Page(render_html(DOCUMENTS[name]()))
        assert title in page.text and page.text[0].endswith(title)


def test_a_command_can_be_copied() -> None:
    page = Page(render_html(DOCUMENTS["inspect_healthy"]()))
    assert not page.attributes("button")
    command = Paragraph((Phrase("→ ", "error"), Phrase("normdiag recalibrate 'a b.onnx'", "command")), level=2)
    page = Page(render_html(Document("x", (Section("Summary", (command,), opening=True),))))
    assert page.attributes("button") == [{"type": "button", "class": "copy", "hidden": None}]
    assert "normdiag recalibrate 'a b.onnx' Copy" in page.words and "→" not in page.words


def test_a_thousand_norms_stay_below_three_megabytes() -> None:
    text = render_html(inspect_document(thousand_norms(), PAGE))
    assert len(text.encode()) < 3_000_000
    data = Page(text).data
    assert len(data["layers"]) == 1000
    sizes = {len(layer["columns"][0]) for layer in data["layers"]}
    assert min(sizes) == 16 and max(sizes) == 256  # the worst channels of most, all of those that drift most


def test_all_channels_are_there_where_all_are_asked_for() -> None:
    report = faulty()
    for all_layers in (False, True):
        data = Page(render_html(inspect_document(report, Detail(all_layers, figures=True)))).data
        assert sum(len(layer["columns"][0]) + layer["hidden"] for layer in data["layers"]) == sum(
            m.layer.channels or 0 for m in report.layers
        )
    assert all(layer["hidden"] == 0 for layer in data["layers"])
