"""What a rule means, as JSON and as the pages of docs/rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from normdiag.report.rules import paragraphs
from normdiag.rules import Rule

SERIES = {
    "1": "Parameters and statistics",
    "2": "Graph and export",
    "3": "Normalization on data",
    "4": "Activations",
}
# A paragraph of a docstring that opens with one of these words and a colon is a section of the page.
SECTION = re.compile(r"((?:What|Why|How|Which) [\w. ]{1,30}:|Source:)")


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
    return "\n\n".join([*map(marked, paragraphs(rule)), *_configuration(rule)])


def marked(paragraph: str) -> str:
    """A paragraph of a docstring in Markdown, the word that opens a section in bold."""
    return SECTION.sub(r"**\1**", paragraph, count=1) if SECTION.match(paragraph) else paragraph


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
