"""What `check` concludes over many models: which findings are new, which were known, and whether the gate holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from normdiag.records.coverage import Verdict
from normdiag.records.report import Finding, Report, Severity

FailOn = Literal["error", "warning", "info", "never"]
RANKS: dict[str, int] = {"error": 0, "warning": 1, "info": 2}


def reaches(severity: Severity, fail_on: FailOn) -> bool:
    """Whether a finding of this severity makes the gate fail."""
    return fail_on != "never" and RANKS[severity] <= RANKS[fail_on]


@dataclass(frozen=True)
class KnownFinding:
    """A line of a baseline: what one rule says of one layer, and how severe it is.

    `model` is a path relative to the baseline's folder, with forward slashes; `layer` is None for what a rule says of
    the model as a whole.
    """

    model: str
    rule: str
    layer: str | None
    severity: Severity


@dataclass(frozen=True, eq=False)
class CheckedModel:
    """One model: its report, whose findings are those that count, or the one line that says why it could not be read.

    With both, data was given that it could not be run on: the report is what the file alone says, `error` says why.
    `path` is relative to the current folder where it lies in it, with forward slashes. `rules` are the ids of the
    rules that ran on it. `known` holds what the baseline lists for it: the severity by rule and layer.
    """

    path: str
    report: Report | None = None
    error: str | None = None
    seconds: float = 0.0
    rules: tuple[str, ...] = ()
    known: Mapping[tuple[str, str | None], Severity] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, known ones too."""
        return () if self.report is None else self.report.findings

    def is_known(self, finding: Finding) -> bool:
        """Whether the baseline lists it for all of its layers."""
        return all(self.lists(finding, layer) for layer in finding.layers or (None,))

    def lists(self, finding: Finding, layer: str | None) -> bool:
        """Whether the baseline lists a finding for this layer of it, as no less severe."""
        severity = self.known.get((finding.rule, layer))
        return severity is not None and RANKS[severity] <= RANKS[finding.severity]

    @property
    def new(self) -> tuple[Finding, ...]:
        """The findings that the baseline does not list."""
        return tuple(each for each in self.findings if not self.is_known(each))

    @property
    def judged(self) -> bool:
        """Whether rules looked at what a normalization layer of it did on real data."""
        return self.report is not None and self.report.coverage.judged

    @property
    def verdict(self) -> Verdict:
        """As that of its report, of the new findings alone; `not_measured` where it could not be checked."""
        if any(each.severity != "info" for each in self.new):
            return "problem"
        return "ok" if self.judged else "not_measured"

    def count(self, severity: Severity) -> int:
        """New findings of this severity."""
        return sum(each.severity == severity for each in self.new)


@dataclass(frozen=True, eq=False)
class CheckReport:
    """Everything that `check` found.

    `rules` are the ids of all rules chosen. `baseline` is the path of the baseline that was read, `stale` its lines
    that no longer hold, `unchecked` how many models Ctrl-C left out. With `require_data` the gate fails for a model of
    which nothing was judged on data. `skipped` are files in folders that are no models by their names, by ending.
    """

    models: tuple[CheckedModel, ...]
    rules: tuple[str, ...]
    fail_on: FailOn = "error"
    baseline: str | None = None
    stale: tuple[KnownFinding, ...] = ()
    unchecked: int = 0
    require_data: bool = False
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def unjudged(self) -> tuple[CheckedModel, ...]:
        """The models that were checked as asked, and of which nothing was judged on data."""
        return tuple(model for model in self.models if model.error is None and not model.judged)

    @property
    def unreadable(self) -> tuple[CheckedModel, ...]:
        """The models that could not be checked, or not as asked."""
        return tuple(model for model in self.models if model.error is not None)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.unchecked > 0 or self.checked < len(self.models)

    @property
    def checked(self) -> int:
        """How many models were checked to the end."""
        return sum(model.report is None or not model.report.interrupted for model in self.models)

    def failing(self) -> Iterator[tuple[CheckedModel, Finding]]:
        """The new findings that make the gate fail."""
        for model in self.models:
            for finding in model.new:
                if reaches(finding.severity, self.fail_on):
                    yield model, finding

    @property
    def passed(self) -> bool:
        """Whether every model could be checked, as far as asked, and none has a new finding at or above `fail_on`."""
        unchecked = self.unreadable or self.interrupted or (self.require_data and self.unjudged)
        return not unchecked and not any(True for _ in self.failing())
