"""A check as JUnit XML: a suite for each model, a case for each rule.

A case fails where the gate does. What is known or below the gate stands in the output of a case that passes. The format
is what Jenkins' xunit plugin takes (its junit-10.xsd), and GitLab, which reads the same elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from normdiag.records import CheckedModel, CheckReport, Finding, reaches
from normdiag.report.check_phrases import interruption, reason, why_unjudged
from normdiag.report.words import MESSAGE_LIMIT, NAME_LIMIT, safe
from normdiag.rules import RULES, Rule

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def render_junit(check: CheckReport) -> str:
    """The check as a document in ASCII, other characters as references, so that every pipe carries it."""
    suites = [_suite(each.path, list(_cases(each, check)), each.seconds, each.verdict) for each in check.models]
    if check.interrupted:  # or what is missing would look as if there was nothing to say of it
        missing = _error("normdiag check", "every model is checked", "interrupted", interruption(check))
        suites.append(_suite("normdiag check", [missing]))
    root = ET.Element("testsuites", name="normdiag check", time=_seconds(sum(model.seconds for model in check.models)))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    encoded: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=False)
    return DECLARATION + encoded.decode("ascii") + "\n"


def _suite(name: str, cases: Sequence[ET.Element], seconds: float = 0.0, verdict: str | None = None) -> ET.Element:
    suite = ET.Element("testsuite", name=safe(name, limit=NAME_LIMIT), tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", _seconds(seconds))
    if verdict is not None:
        ET.SubElement(ET.SubElement(suite, "properties"), "property", name="verdict", value=verdict)
    suite.extend(cases)
    return suite


def _cases(model: CheckedModel, check: CheckReport) -> Iterator[ET.Element]:
    if model.error is not None:
        kind = "unreadable" if model.report is None else "not-run"
        yield _error(model.path, "the model can be checked", kind, reason(model))
    if check.require_data and model in check.unjudged:
        yield _error(model.path, "the model is judged on data", "not-measured", why_unjudged(model))
    for rule in RULES:
        if rule.id in model.rules:
            case = _case(model.path, f"{rule.id} {rule.name}")
            _outcome(case, rule, [each for each in model.findings if each.rule == rule.id], model, check)
            yield case


def _outcome(case: ET.Element, rule: Rule, found: Sequence[Finding], model: CheckedModel, check: CheckReport) -> None:
    failing = [each for each in found if reaches(each.severity, check.fail_on) and not model.is_known(each)]
    if failing:
        more = f" (and {len(failing) - 1:,} more)" if len(failing) > 1 else ""
        message = safe(failing[0].message, limit=MESSAGE_LIMIT) + more
        failure = ET.SubElement(case, "failure", type=failing[0].severity, message=message)
        failure.text = "\n".join(_line(each) for each in failing)
    others = [each for each in found if each not in failing]
    if others:
        lines = [_line(each) + (" (known)" if model.is_known(each) else "") for each in others]
        ET.SubElement(case, "system-out").text = "\n".join(lines)
    if rule.needs_data and not found and not model.judged:
        ET.SubElement(case, "skipped", message=safe(why_unjudged(model), limit=MESSAGE_LIMIT))


def _case(suite: str, name: str) -> ET.Element:
    return ET.Element("testcase", name=name, classname=safe(suite, limit=NAME_LIMIT), time="0")


def _error(suite: str, name: str, kind: str, why: str) -> ET.Element:
    case, text = _case(suite, name), safe(why, limit=MESSAGE_LIMIT)
    ET.SubElement(case, "error", type=kind, message=text).text = text
    return case


def _line(finding: Finding) -> str:
    doubt = "" if finding.confidence == "high" else f" ({finding.confidence} confidence)"
    return safe(f"{finding.severity}: {finding.message}{doubt} -> {finding.remedy}", limit=MESSAGE_LIMIT)


def _seconds(value: float) -> str:
    return f"{value:.3f}"
