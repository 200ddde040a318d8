"""The page and its first screen, out of templates that escape whatever they are given."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from normdiag import __version__
from normdiag.records.document import Document, FactList, Section
from normdiag.render.html.data import inert_json
from normdiag.render.html.grouped import grouped, is_command, role_of
from normdiag.report.words import safe, short_name

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render_html(document: Document) -> str:
    """The document as a page. Nothing from a file reaches it as markup, style or script.

    Its Content-Security-Policy allows the page's own style and script by their hashes, and nothing else: no request.
    """
    style, script = _source("style.css"), _source("layer.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    parts = _parts(document)
    heading = _heading(parts["about"]) or document.title
    return _render(
        "page.html.j2",
        document=document,
        **parts,
        heading=heading,
        title=f"{document.title}: {heading}" if heading != document.title else heading,
        data=inert_json(document) if document.layers else "",
        anchors={short_name(layer.name): index for index, layer in enumerate(document.layers)},
        style=style,
        script=script,
        policy=f"{policy}; form-action 'none'",
        version=__version__,
    )


def first_screen(document: Document) -> str:
    """The answer and what it is about, as a fragment: collapsible, with a style of its own, without a script."""
    return _render(
        "first_screen.html.j2", document=document, **_parts(document), anchors={}, style=_source("style.css")
    )


def _parts(document: Document) -> dict[str, tuple[Section, ...]]:
    """The answer, what it is about, and the rest."""
    opening = [section for section in document.sections if section.opening]
    about = tuple(section for section in opening if any(isinstance(block, FactList) for block in section.blocks))
    return {
        "answer": tuple(section for section in opening if section not in about),
        "about": about,
        "rest": tuple(section for section in document.sections if not section.opening),
    }


def _heading(about: Sequence[Section]) -> str:
    """The names of the files that it is all about: of the facts, those that stand out."""
    lists = [block for section in about for block in section.blocks if isinstance(block, FactList)]
    files = [value.text for each in lists for _, value in each.rows if value.role == "strong"]
    return " and ".join(PurePath(file).name for file in files)


def _render(template: str, **given: Any) -> str:
    return _environment().get_template(template).render(**given)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from normdiag.render.html.chart import chart_svg, series_names, shown_limits

    environment = Environment(
        loader=PackageLoader("normdiag.render.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "grouped": grouped,
        "role": role_of,
        "chart": chart_svg,
        "series": series_names,
        "limits": shown_limits,
    }
    environment.tests["command"] = is_command
    return environment


def _printable(value: object) -> object:
    """Text on its way into the page: what cannot be seen becomes a visible escape. What is markup stays as it is."""
    return safe(value) if type(value) is str else value


def _source(name: str) -> Markup:
    """The text of a style or script, which stands in the page as it is."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("normdiag.render.html").joinpath("templates", name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
