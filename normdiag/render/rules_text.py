"""What a rule means, out of its docstring: for the terminal, as JSON, and as the pages of docs/rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from normdiag.render.layout import BLANK, Line, Span, paint
from normdiag.render.parts.prose import labelled, prose
from normdiag.render.view import ASCII, STYLES, UNICODE, View
from normdiag.render.words import number
from normdiag.rules import Rule

SERIES = {
    "1": "Parameters and statistics",
    "2": "Graph and export",
    "3": "Normalization on data",
    "4": "Activations",
}
# A paragraph of a docstring that opens with one of these words and a colon is a section of the page.
SECTION = re.compile(r"((?:What|Why|How|Which) [\w. ]{1,30}:|Source:)")


def paragraphs(rule: Rule) -> list[str]:
    """The documentation as paragraphs of one line each."""
    return [" ".join(part.split()) for part in rule.doc.split("\n\n") if part.strip()]


def render_text(rules: Sequence[Rule], *, width: int, color: bool, ascii_only: bool = False) -> str:
    """The rules in full, one below the other."""
    view = View(width, glyphs=ASCII if ascii_only else UNICODE)
    return paint((line for index, rule in enumerate(rules) for line in _page(rule, view, first=not index)), color=color)


def _page(rule: Rule, view: View, *, first: bool) -> Iterator[Line]:
    if not first:
        yield BLANK
    yield (Span(rule.id, "bold"), Span(f" {rule.name}", "bold"), Span(f"  {rule.severity}", STYLES[rule.severity]))
    for paragraph in paragraphs(rule):
        yield BLANK
        yield from prose(view.safe(paragraph), view)
    yield BLANK
    yield from prose(_limits(rule), view, style="dim")


def _limits(rule: Rule) -> str:
    known = ", ".join(f"{name} = {number(value)}" for name, value in rule.limits.items())
    return f"{'Needs data' if rule.needs_data else 'Needs no data'}. Limits: {known or 'none'}."


def render_list(rules: Sequence[Rule], *, width: int, color: bool, ascii_only: bool = False) -> str:
    """A line or two for each rule."""
    view = View(width, glyphs=ASCII if ascii_only else UNICODE)
    rows = [
        (Span(f"{rule.id} {rule.severity}", STYLES[rule.severity]), Span(view.safe(f"{rule.name}: {rule.headline}")))
        for rule in rules
    ]
    return paint(labelled(rows, view, gap=2), color=color)


def to_dict(rule: Rule) -> dict[str, Any]:
    """A rule as JSON."""
    return {
        "id": rule.id,
        "name": rule.name,
        "severity": rule.severity,
        "needs_data": rule.needs_data,
        "limits": dict(rule.limits),
        "headline": rule.headline,
        "documentation": rule.doc,
    }


def render_json(rules: Sequence[Rule]) -> str:
    """The rules as a JSON array."""
    return json.dumps([to_dict(rule) for rule in rules], indent=2, allow_nan=False) + "\n"


def render_markdown(rules: Sequence[Rule]) -> str:
    """The rules as one Markdown text."""
    return "\n".join(page(rule) for rule in rules)


def page(rule: Rule) -> str:
    """A rule as a Markdown page."""
    facts = f"*{rule.severity}, {'needs data' if rule.needs_data else 'needs no data'}*"
    return "\n\n".join([f"# {rule.id}: {rule.name}", facts, body(rule)]) + "\n"


def body(rule: Rule) -> str:
    """The documentation of a rule in Markdown, without a title."""
    parts = [
        SECTION.sub(r"**\1**", paragraph, count=1) if SECTION.match(paragraph) else paragraph
        for paragraph in paragraphs(rule)
    ]
    return "\n\n".join([*parts, *_configuration(rule)])


def _configuration(rule: Rule) -> Iterator[str]:
    if not rule.limits:
        return
    values = "\n".join(f"{name} = {json.dumps(value)}" for name, value in rule.limits.items())
    table = f"[tool.normdiag.rules.{rule.id}]\n{values}"
    yield f"The limits and their defaults, in pyproject.toml:\n\n```toml\n{table}\n```"


def pages(rules: Sequence[Rule]) -> Mapping[str, str]:
    """The files of docs/rules: one for each rule, and an index."""
    return {"README.md": _index(rules)} | {f"{rule.id}.md": page(rule) for rule in rules}


def _index(rules: Sequence[Rule]) -> str:
    lines = [
        "# Rules",
        "",
        "Written by `normdiag rule --all --format markdown -o docs/rules` from the docstrings of the rules. The",
        "severity is the usual one; a finding may be more or less severe, as the page of its rule says.",
    ]
    for digit, title in SERIES.items():
        rows = [
            f"| [{rule.id}]({rule.id}.md) | {rule.name} | {rule.severity} | {'yes' if rule.needs_data else 'no'} | "
            f"{rule.headline.replace('|', chr(92) + '|')} |"
            for rule in rules
            if rule.id[2] == digit
        ]
        if rows:
            header = ["| rule | name | severity | needs data | what it says |", "|---|---|---|---|---|"]
            lines += ["", f"## {title}", "", *header, *rows]
    return "\n".join(lines) + "\n"
