"""What a cause means, as JSON and as the pages of docs/causes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from normdiag.diagnosis import Cause
from normdiag.render.rule_pages import marked
from normdiag.report.rules import paragraphs


def render_json(causes: Sequence[Cause]) -> str:
    """The causes as a JSON array."""
    rows = [{"name": c.name, "action": c.action, "headline": c.headline, "documentation": c.doc} for c in causes]
    return json.dumps(rows, indent=2) + "\n"


def render_markdown(causes: Sequence[Cause]) -> str:
    """The causes as one Markdown text."""
    return "\n".join(page(cause) for cause in causes)


def page(cause: Cause) -> str:
    """A cause as a Markdown page."""
    body = "\n\n".join(map(marked, paragraphs(cause)))
    return f"# {cause.name}\n\n*remedy: {cause.action}*\n\n{body}\n"


def pages(causes: Sequence[Cause]) -> Mapping[str, str]:
    """The files of docs/causes: one for each cause, and an index."""
    return {"README.md": _index(causes)} | {f"{cause.name}.md": page(cause) for cause in causes}


def _index(causes: Sequence[Cause]) -> str:
    lines = [
        "# Causes",
        "",
        "Written by `normdiag rule --causes --all --format markdown -o docs/causes` from the docstrings of the causes.",
        "",
        "| cause | remedy | what happened |",
        "|---|---|---|",
        *(f"| [{cause.name}]({cause.name}.md) | {cause.action} | {cause.headline} |" for cause in causes),
    ]
    return "\n".join(lines) + "\n"
