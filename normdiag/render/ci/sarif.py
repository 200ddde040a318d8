"""A check as SARIF 2.1.0, in the subset that GitHub code scanning reads and within its limits.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. The limits: GitHub's page 'SARIF support
for code scanning': 5,000 results are kept of a run, 255 characters of a name, 1,024 of a description.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from normdiag import __version__
from normdiag.records import CheckReport, Finding
from normdiag.render.json import dump
from normdiag.render.rule_pages import body
from normdiag.report.check_phrases import interruption, prefixed, reason, unjudged_lines
from normdiag.report.rules import paragraphs
from normdiag.report.words import MESSAGE_LIMIT, NAME_LIMIT, SEVERITIES, safe
from normdiag.rules import RULES, Rule

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
PROBLEMS = {"error": "error", "warning": "warning", "info": "recommendation"}
MOST_RESULTS = 5000
MOST_LAYERS = 100
MOST_CHARACTERS = 1024
# A model file has no lines: all is said of its first character.
REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}


def render_sarif(check: CheckReport, *, prefix: str = "") -> str:
    """The check as a SARIF log. `prefix` is put before the path of each model, for paths from the repository's root."""
    chosen = [rule for rule in RULES if rule.id in check.rules]
    results = _results(check, {rule.id: index for index, rule in enumerate(chosen)}, prefix)
    run = {
        "tool": {"driver": _driver(chosen)},
        "invocations": [_invocation(check, len(results) - MOST_RESULTS, prefix)],
        "results": results[:MOST_RESULTS],
    }
    return dump({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _driver(rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "name": "normdiag",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name[:255],
        "shortDescription": {"text": _cut(rule.headline)},
        "fullDescription": {"text": _cut(" ".join(paragraphs(rule)[:2]))},
        "help": {"text": "\n\n".join(paragraphs(rule)), "markdown": body(rule)},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": ["normalization"], "problem.severity": PROBLEMS[rule.severity]},
    }


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _results(check: CheckReport, indexes: dict[str, int], prefix: str) -> list[dict[str, Any]]:
    """All findings, severest first, so that what a reader drops is what matters least."""
    seen: Counter[str] = Counter()
    found = sorted(
        ((model, finding) for model in check.models for finding in model.findings),
        key=lambda pair: SEVERITIES.index(pair[1].severity),
    )
    results = []
    for model, finding in found:
        result = _result(finding, uri(model.path, prefix), seen)
        causes = model.report.diagnosis if model.report is not None else ()
        cause = next((each for each in causes if each.covers(finding.rule, finding.layers)), None)
        if cause is not None:
            result["properties"] |= {"cause": cause.cause, "remedy": cause.remedy.action}
        if finding.rule in indexes:
            result["ruleIndex"] = indexes[finding.rule]
        if check.baseline is not None:  # for all results or for none
            known = model.is_known(finding)
            result["baselineState"] = "unchanged" if known else "new"
            result["suppressions"] = [{"kind": "external", "justification": "in the baseline"}] if known else []
        results.append(result)
    return results


def _result(finding: Finding, where: str, seen: Counter[str]) -> dict[str, Any]:
    identity = "\0".join((finding.rule, where, *(sorted(finding.layers) or [""])))
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    seen[digest] += 1
    return {
        "ruleId": finding.rule,
        "level": LEVELS[finding.severity],
        "message": {"text": message(finding)},
        "locations": [_location(where, finding.layers)],
        # GitHub reads the first alone; its own would be the hash of a line, which a model file has not.
        "partialFingerprints": {
            "primaryLocationLineHash": f"{digest[:16]}:{seen[digest]}",
            "normdiagFinding/v1": f"{digest}:{seen[digest]}",
        },
        "properties": {"confidence": finding.confidence, "evidence": dict(_evidence(finding))},
    }


def message(finding: Finding) -> str:
    """Message and remedy. The layers begin the first sentence, all that is shown where there is little room."""
    first = safe(finding.message.rstrip("."), limit=MESSAGE_LIMIT)
    text = f"{first}. {safe(finding.remedy, limit=MESSAGE_LIMIT)}".strip()
    # Section 3.11 of the format: braces are placeholders, and brackets before a parenthesis a link.
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _location(where: str, layers: Sequence[str]) -> dict[str, Any]:
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": where}, "region": REGION}}
    names = [safe(layer, limit=NAME_LIMIT) for layer in layers[:MOST_LAYERS] if layer]
    if names:
        place["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "module"} for name in names]
    return place


def _evidence(finding: Finding) -> Iterator[tuple[str, Any]]:
    for name, given in finding.evidence.items():
        value = given.item() if isinstance(given, np.generic) else given
        if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
            value = safe(str(value), limit=NAME_LIMIT)
        yield safe(name, limit=NAME_LIMIT), value


def _invocation(check: CheckReport, left_out: int, prefix: str) -> dict[str, Any]:
    notes = [
        _notification("error", f"{safe(model.path, limit=NAME_LIMIT)}: {safe(reason(model), limit=MESSAGE_LIMIT)}")
        | {"locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(model.path, prefix)}}}]}
        for model in check.unreadable
    ]
    notes += [
        _notification("note", safe(f"not judged on data: {line}", limit=MESSAGE_LIMIT))
        for line in unjudged_lines(check)
    ]
    if check.interrupted:
        notes.append(_notification("error", interruption(check)))
    if left_out > 0:
        notes.append(_notification("warning", f"{left_out:,} results are left out: GitHub keeps {MOST_RESULTS:,}"))
    invocation: dict[str, Any] = {"executionSuccessful": not check.unreadable and not check.interrupted}
    return invocation | ({"toolExecutionNotifications": notes} if notes else {})


def _notification(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": text.replace("{", "{{").replace("}", "}}").replace("](", "] (")}}


def uri(path: str, prefix: str = "") -> str:
    """A path as a URI reference after `prefix`, a folder or a URL; an absolute one without a prefix is file://."""
    whole = prefixed(prefix, path)
    if "://" in prefix:
        scheme, _, rest = whole.partition("://")
        host, slash, place = rest.partition("/")
        return f"{scheme}://{host}{slash}{_quoted(place)}"
    return f"{'file://' if posixpath.isabs(whole) else ''}{_quoted(whole)}"


def _quoted(path: str) -> str:
    """Percent-encoded bytes: those of the file system, which Python may hold as surrogates."""
    try:
        return quote(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return quote(path.encode("utf-8", "surrogatepass"))
