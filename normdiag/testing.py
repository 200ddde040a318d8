"""For the test suites of people who train or ship models: `assert_healthy(model, batches)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.inspect import inspect
from normdiag.diagnosis import CAUSES
from normdiag.errors import UsageError
from normdiag.records import Diagnosis, FailOn, Finding, Report
from normdiag.records.check import reaches
from normdiag.records.document import Document
from normdiag.results.inspection import Inspection
from normdiag.rules import RULES
from normdiag.rules.choose import matching
from normdiag.terminal import DEFAULT_WIDTH

if TYPE_CHECKING:
    from torch import nn


def assert_healthy(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    allow: Sequence[str] = (),
    fail_on: FailOn = "warning",
    **options: Any,
) -> Inspection:
    """Assert that the normalization layers of a model fit the data, and return what was found.

    `model`, `batches` and `options` are those of `normdiag.inspect`. It fails for findings of severity `fail_on` or
    above, and where nothing was judged on data: what was not measured is not healthy. `allow` are known exceptions: a
    rule by id, name or prefix ("ND203"), or a cause with all that follows from it ("domain_shift"); with a glob of
    layer names after a colon ("ND301:backbone.*") for these layers alone.

    Raises AssertionError with the diagnosis, UsageError for a word in `allow` that is neither rule nor cause, and
    InputError as `inspect` does.

    >>> from normdiag.testing import assert_healthy
    >>> data = ["sample_models/digits.npz"]
    >>> assert_healthy("sample_models/digits_cnn.onnx", data=data)
    <Inspection: ok: ...>
    >>> assert_healthy("sample_models/digits_cnn_training.onnx", data=data)
    Traceback (most recent call last):
    AssertionError: sample_models/digits_cnn_training.onnx is not healthy
    ...
    """
    __tracebackhide__ = True
    allowed = [_allowed(word) for word in allow]
    found = inspect(model, batches, **options)
    if found.interrupted:
        raise KeyboardInterrupt
    left = _left(found, allowed, fail_on)
    if left.findings or not found.coverage.judged:
        name = found.model.path or type(model).__name__
        raise AssertionError(f"{name} is not healthy\n{_text(left, found)}")
    return found


@dataclass(frozen=True)
class Allowed:
    """One exception: the rules or the cause that it names, and the layers that it holds for."""

    rules: frozenset[str]
    cause: str | None
    layers: str

    def covers(self, rule: str, layer: str, causes: Iterable[str]) -> bool:
        """Whether a finding of this rule on this layer, with these causes, is allowed; the layer is '' for none."""
        named = rule in self.rules or (self.cause is not None and self.cause in causes)
        return named and (layer == self.layers or fnmatchcase(layer, self.layers))


def _allowed(text: str) -> Allowed:
    word, _, layers = text.partition(":")
    if word.lower() in {each.name for each in CAUSES}:
        return Allowed(frozenset(), word.lower(), layers or "*")
    try:
        return Allowed(frozenset(rule.id for rule in matching(word, RULES)), None, layers or "*")
    except UsageError as error:
        raise UsageError(f"allow={text!r}: {error}; nor is there a cause of that name") from None


def _left(report: Report, allowed: Sequence[Allowed], fail_on: FailOn) -> Report:
    """The report with the findings and causes that are not allowed, where they are severe enough."""
    kept = (_kept(each, report, allowed) for each in report.findings if reaches(each.severity, fail_on))
    findings = tuple(each for each in kept if each is not None)
    told = (each for each in report.diagnosis if _tells(each, findings))
    return replace(report, findings=findings, diagnosis=tuple(told))


def _kept(finding: Finding, report: Report, allowed: Sequence[Allowed]) -> Finding | None:
    causes = {each.cause for each in report.diagnosis if each.covers(finding.rule, finding.layers)}
    if not finding.layers:
        return None if any(each.covers(finding.rule, "", causes) for each in allowed) else finding
    return finding.only(lambda layer: not any(each.covers(finding.rule, layer, causes) for each in allowed))


def _tells(diagnosis: Diagnosis, findings: Sequence[Finding]) -> bool:
    return any(diagnosis.covers(each.rule, each.layers) for each in findings)


def _text(left: Report, found: Report) -> str:
    """The summary of what is left, as the command prints it; where nothing is, why nothing was judged."""
    from normdiag.render.text import render_text
    from normdiag.report.abridge import Detail
    from normdiag.report.summary import summary

    section = summary(left if left.findings else replace(found, findings=(), diagnosis=()), Detail())
    text = render_text(Document("", (section,)), width=DEFAULT_WIDTH, color=False)
    causes = [each.cause for each in left.diagnosis]
    rules = [each.rule for each in left.findings if not any(d.covers(each.rule, each.layers) for d in left.diagnosis)]
    words = list(dict.fromkeys([*causes, *rules]))
    return f"{text}\n  Known and accepted: allow={words}" if words else text
