"""A check as annotations of a GitHub workflow, and what fits into its step summary.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions: a step may annotate ten times a level,
and a step summary may have 1 MiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from normdiag.records import CheckReport
from normdiag.report.check_phrases import (
    UNJUDGED,
    prefixed,
    problem,
    reason,
    stale_lines,
    unjudged_lines,
    verdict,
    why_unjudged,
)
from normdiag.report.words import MESSAGE_LIMIT, NAME_LIMIT, SEVERITIES, safe
from normdiag.wording import abridged

COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
MOST_ANNOTATIONS = 10
SUMMARY_BYTES = 1 << 20


def render_github(check: CheckReport, *, prefix: str = "") -> str:
    """Annotations, severest first and ten of each level, and a line on what there is in all.

    `prefix` is put before the path of each model, for paths from the repository's root.
    """
    lines, written = [], Counter[str]()
    for command, line in _annotations(check, prefix):
        written[command] += 1
        if written[command] <= MOST_ANNOTATIONS:
            lines.append(line)
    left_out = sum(max(n - MOST_ANNOTATIONS, 0) for n in written.values())
    more = f" {left_out:,} more not shown as annotations." if left_out else ""
    lines.append(f"normdiag: {verdict(check)}{more}")
    lines += [f"normdiag: not judged on data: {_harmless(line)}" for line in unjudged_lines(check)]
    if check.stale:
        lines.append(f"normdiag: in the baseline and no longer found: {_harmless(abridged(stale_lines(check), 10))}")
    return "\n".join(lines) + "\n"


def _harmless(text: str) -> str:
    """Text from files in a line of the log, where '##[' would be a command to the runner wherever it stands."""
    return safe(text, limit=MESSAGE_LIMIT).replace("##[", "## [")


def _annotations(check: CheckReport, prefix: str) -> Iterator[tuple[str, str]]:
    for model in check.unreadable:
        yield "error", annotation("error", prefixed(prefix, model.path), f"normdiag: {problem(model)}", reason(model))
    for model in check.unjudged if check.require_data else ():
        yield "error", annotation("error", prefixed(prefix, model.path), f"normdiag: {UNJUDGED}", why_unjudged(model))
    for severity in SEVERITIES:
        for model in check.models:
            for finding in model.new:
                if finding.severity == severity:
                    command = COMMANDS[severity]
                    title = f"{finding.rule} {finding.name}"
                    yield (
                        command,
                        annotation(command, prefixed(prefix, model.path), title, finding.message, finding.remedy),
                    )


def annotation(command: str, path: str, title: str, *lines: str) -> str:
    """A workflow command, in one line whatever the names hold."""
    file, title = (_property(safe(text, limit=NAME_LIMIT)) for text in (path, title))
    message = "\n".join(safe(line, limit=MESSAGE_LIMIT) for line in lines if line)
    return f"::{command} file={file},line=1,title={title}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def step_summary(markdown: str, room: int = SUMMARY_BYTES) -> str:
    """The Markdown, cut after a whole line where it does not fit into `room` bytes; empty where nothing does."""
    encoded = markdown.encode("utf-8", "backslashreplace")
    if len(encoded) <= room:
        return encoded.decode("utf-8")
    note = "\n\n*The rest is left out: a step summary may have 1 MiB.*\n"
    kept = encoded[: max(room - len(note), 0)].rpartition(b"\n")[0]
    return kept.decode("utf-8") + note if kept else ""
