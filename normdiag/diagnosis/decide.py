"""From a report with findings to causes: each tested, rivals held against each other, findings folded under them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from normdiag.diagnosis.cause import Case, Cause
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.diagnosis.remedies import remedy
from normdiag.records import Diagnosis, Finding, Report, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
MOST_ALTERNATIVES = 2


def diagnosed(report: Report, causes: Sequence[Cause]) -> Report:
    """The report with its causes, most important first, and with findings no more severe than what causes them.

    A cause that explains no warning or error is not named: nothing that matters is then there to be explained.
    """
    seen = Seen(report)
    kept = _best(_drafts(seen, causes))
    findings, diagnoses = report.findings, list[tuple[float, Diagnosis]]()
    taken: set[int] = set()
    for each, case in sorted(kept, key=lambda pair: -pair[1].weight):
        explained = [i for i, finding in enumerate(findings) if i not in taken and _explains(case, finding)]
        telling = [findings[i].severity for i in explained if findings[i].severity != "info"]
        if not telling and case.severity is None:
            continue
        if case.severity == "info" and case.explains and not telling:
            continue
        severity = _severity(case, telling, seen)
        taken.update(explained)
        findings = _capped(findings, explained, severity)
        diagnoses.append((case.weight, _diagnosis(each, case, severity, [findings[i] for i in explained], seen)))
    ranked = sorted(diagnoses, key=lambda pair: (SEVERITIES.index(pair[1].severity), -pair[0]))
    ordered = tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
    return replace(report, findings=ordered, diagnosis=tuple(each for _, each in ranked))


def _drafts(seen: Seen, causes: Sequence[Cause]) -> Iterator[tuple[Cause, Case]]:
    """Each cause that something speaks for, but those that training data rules out, as causes and as alternatives."""
    ruled_out = {each.name for each in causes if seen.fault is not None and each.fault not in (None, seen.fault)}
    for each in causes:
        case = None if each.name in ruled_out else each.test(seen)
        if case is not None:
            left = tuple(name for name in case.alternatives if name not in ruled_out)
            yield each, replace(case, alternatives=left, test=case.test if left == case.alternatives else "")


def _best(drafts: Iterable[tuple[Cause, Case]]) -> list[tuple[Cause, Case]]:
    """Of causes that explain the same evidence, the one that does it best."""
    best: dict[str, tuple[Cause, Case]] = {}
    for each, case in drafts:
        if each.rivals not in best or case.weight > best[each.rivals][1].weight:
            best[each.rivals] = (each, case)
    return list(best.values())


def _explains(case: Case, finding: Finding) -> bool:
    if finding.rule not in case.explains:
        return False
    return case.everywhere or not finding.layers or bool(set(finding.layers) & set(case.layers))


def _severity(case: Case, telling: Sequence[Severity], seen: Seen) -> Severity:
    """By the effect: what changes no answer, or changes them for the worse, is no error, however far it drifts."""
    if case.severity is not None:
        return case.severity
    worst = min(telling, key=SEVERITIES.index)
    return max(worst, "warning" if seen.answers.harmless else case.at_most, key=SEVERITIES.index)


def _capped(findings: tuple[Finding, ...], explained: Sequence[int], severity: Severity) -> tuple[Finding, ...]:
    """With those that a cause explains no more severe than it."""
    rank = SEVERITIES.index(severity)
    return tuple(
        replace(each, severity=severity) if i in explained and SEVERITIES.index(each.severity) < rank else each
        for i, each in enumerate(findings)
    )


def _diagnosis(cause: Cause, case: Case, severity: Severity, explained: Sequence[Finding], seen: Seen) -> Diagnosis:
    return Diagnosis(
        cause=cause.name,
        layers=case.layers,
        confidence=case.confidence,
        severity=severity,
        summary=case.summary,
        evidence=case.evidence,
        remedy=remedy(case.action or cause.action, case, seen.report),
        alternatives=tuple(each for each in case.alternatives if each != cause.name)[:MOST_ALTERNATIVES],
        test=case.test,
        explains=tuple((each.rule, each.layers) for each in explained),
    )
