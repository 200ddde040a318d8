"""What a rule is: an id, a name, a severity, limits, a docstring that is its documentation, and a pure function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from normdiag.records import Finding, Report, Severity
from normdiag.rules.context import Context

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class FindingDraft:
    """What a rule's function yields; the rule adds its id, its name and, unless given, its severity.

    `text`, `remedy` and severity must hold for each of the `layers`: those of which something else is to be said get
    a draft of their own, or differ in their `details`. See Finding.
    """

    layers: tuple[str, ...]
    text: str
    remedy: str
    evidence: Mapping[str, float | int | str | None] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    severity: Severity | None = None
    confidence: Confidence = "high"


Check = Callable[[Context, Mapping[str, float]], Iterable[FindingDraft]]


@dataclass(frozen=True)
class Rule:
    """A rule. `limits` are its thresholds with their defaults."""

    id: str
    name: str
    severity: Severity
    limits: Mapping[str, float]
    check: Check

    def __repr__(self) -> str:
        """Without the documentation: `help` shows the default of every parameter."""
        return f"<{self.id} {self.name}>"

    @property
    def doc(self) -> str:
        """The documentation in plain text."""
        return inspect.getdoc(self.check) or ""

    @property
    def needs_data(self) -> bool:
        """Whether it reports what the model does on data: the series ND3xx and ND4xx."""
        return self.id[2:3] in ("3", "4")

    @property
    def needs_graph(self) -> bool:
        """Whether it looks at the computation: the series ND2xx."""
        return self.id[2:3] == "2"

    @property
    def headline(self) -> str:
        """The first sentence of the documentation: what the finding says."""
        return " ".join(self.doc.partition("\n\n")[0].split())

    def findings(self, context: Context) -> tuple[Finding, ...]:
        """What the rule has to say."""
        return tuple(self._finding(draft) for draft in self.check(context, self.limits))

    def _finding(self, draft: FindingDraft) -> Finding:
        return Finding(
            rule=self.id,
            name=self.name,
            severity=draft.severity or self.severity,
            confidence=draft.confidence,
            layers=draft.layers,
            text=draft.text,
            remedy=draft.remedy,
            evidence=draft.evidence,
            details=draft.details,
        )


def is_measured(report: Report) -> bool:
    """Whether real data was run and came through as finite numbers; NaN further on says nothing but where it began."""
    if report.data is None or report.data.random:
        return False
    drifts = [each.drift.rms for each in report.layers if each.drift is not None]
    gaps = [] if report.gap is None else [report.gap.relative_rms]
    points = [] if report.reference is None else [each.drift.rms for each in report.reference.points]
    return all(math.isfinite(value) for value in (*drifts, *gaps, *points))


def rule(id: str, name: str, severity: Severity, **limits: float) -> Callable[[Check], Rule]:
    """Turn a function from a context and limits to drafts into a Rule, with its docstring as the documentation."""

    def decorate(check: Check) -> Rule:
        return Rule(id, name, severity, limits, check)

    return decorate
