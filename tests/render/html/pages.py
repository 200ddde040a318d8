"""Every kind of page, and a reader that takes a page apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from normdiag.records import LayerMetrics, Neighbours
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.report.check import check_document
from normdiag.report.diff import diff_document
from normdiag.report.fold import fold_document
from normdiag.report.history import history_document
from normdiag.report.inspect import inspect_document
from normdiag.report.recalibrate import recalibration_document
from tests.report import checks, diff_reports, fold_reports, history_reports, recalibration_reports, reports

PAGE = Detail(figures=True)
VOID = {"meta", "br", "hr", "img", "input", "link"}


def documents() -> dict[str, Callable[[], Document]]:
    """A document of each kind that people get as a page, by name."""
    found: dict[str, Callable[[], Document]] = {}
    for name, report in {**reports.REPORTS, "hostile": reports.hostile}.items():
        found[f"inspect_{name}"] = lambda report=report: inspect_document(report(), PAGE)
    for name, fold in fold_reports.REPORTS.items():
        found[f"fold_{name}"] = lambda fold=fold: fold_document(fold(), PAGE)
    for name, done in recalibration_reports.REPORTS.items():
        found[f"recalibrate_{name}"] = lambda done=done: recalibration_document(done(), PAGE)
    found["diff_parted"] = lambda: diff_document(diff_reports.parted(), PAGE)
    found["history_training"] = lambda: history_document(history_reports.training(), PAGE)
    found["check_several"] = lambda: check_document(checks.several(), PAGE)
    return found


MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><!--", "' onload='x", "&lt;b&gt;")


def with_layers_called(*names: str) -> Document:
    """A report on layers of these names, which stand in its notes as well."""
    layers = tuple(LayerMetrics(reports.batch_norm(name, 4), 1, reports.random_drift(1, 4, 0.1)) for name in names)
    notes = tuple(f"note of {name}" for name in names)
    beside = tuple(Neighbours(name, (((names[0], names[-1]),),), ()) for name in names)
    return inspect_document(replace(reports.healthy(), layers=layers, notes=notes, neighbours=beside), PAGE)


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, text, and what stands in style and script.

    An element that is closed where it was not opened, or never closed, is an AssertionError.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.sources: dict[str, list[str]] = {"style": [], "script": []}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.sources:
            self.sources[self.open[-1]].append(data)
        elif data.strip():
            self.text.append(" ".join(data.split()))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text)

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sources["script"][0])
        return found
