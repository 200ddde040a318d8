"""Sentences that several formats of a check share."""

from __future__ import annotations

import posixpath

from normdiag.records import CheckedModel, CheckReport, Severity
from normdiag.report.words import SEVERITIES, count, listed
from normdiag.wording import abridged

UNCHECKED = "could not be checked"
PARTLY = "not checked as asked"
UNJUDGED = "static rules only"
# A folder of exports has a reason for each of them.
MOST_REASONS = 10


def verdict(check: CheckReport) -> str:
    """Whether the gate holds, and why not."""
    gate = f" of severity {check.fail_on}{'' if check.fail_on == 'error' else ' or above'}"
    if check.passed:
        new = "new " if check.baseline is not None else ""
        why = "; findings never fail this gate" if check.fail_on == "never" else f", no {new}finding{gate}"
        return f"Passed: {count(len(check.models), 'model')} checked{why}{_reach(check)}."
    reasons = []
    failing = list(check.failing())
    if failing:
        models = count(len({model.path for model, _ in failing}), "model")
        reasons.append(f"{count(len(failing), 'finding')}{gate} in {models}")
    for outcome in (UNCHECKED, PARTLY):
        affected = sum(problem(model) == outcome for model in check.models)
        if affected:
            reasons.append(f"{count(affected, 'model')} {outcome}")
    if check.require_data and check.unjudged:
        reasons.append(f"{count(len(check.unjudged), 'model')} of which nothing was judged on data (--require-data)")
    if check.interrupted:
        reasons.append(interruption(check))
    return f"Failed: {'; '.join(reasons)}."


def _reach(check: CheckReport) -> str:
    """How many of the models were judged by what the file says alone."""
    if not check.unjudged:
        return ""
    which = "" if len(check.unjudged) == len(check.models) else f" for {count(len(check.unjudged), 'model')}"
    return f"; static rules only{which}, nothing was judged on data"


def status(model: CheckedModel) -> str:
    """'clean', '2 errors, 1 for information', '3 known', 'clean, static rules only', or that it was not checked."""
    trouble = problem(model)
    if trouble == UNCHECKED:
        return trouble
    words: dict[Severity, str] = {"error": "error", "warning": "warning"}
    parts = [] if trouble is None else [trouble]
    parts += [count(model.count(severity), word) for severity, word in words.items() if model.count(severity)]
    if model.count("info"):
        parts.append(f"{model.count('info'):,} for information")
    known = len(model.findings) - len(model.new)
    if known:
        parts.append(f"{known:,} known")
    if model.report is not None and model.report.interrupted:
        parts.append("interrupted")
    elif trouble is None and not model.judged:
        parts = [*(parts or ["clean"]), UNJUDGED]
    return ", ".join(parts) or "clean"


def unjudged_lines(check: CheckReport) -> list[str]:
    """Why nothing of a model was judged on data, and what would help: a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for model in check.unjudged:
        by_reason.setdefault(why_unjudged(model), []).append(model.path)
    lines = [f"{abridged(paths)}: {why}" for why, paths in by_reason.items()]
    more = len(lines) - MOST_REASONS
    return lines if more <= 0 else [*lines[:MOST_REASONS], f"and {more:,} more reasons, in the JSON of this check"]


def why_unjudged(model: CheckedModel) -> str:
    """Why nothing was judged on data, and what would help."""
    missing = () if model.report is None else model.report.coverage.missing
    if not missing:
        return "nothing was measured"
    return missing[0].why + (f": {missing[0].remedy}" if missing[0].remedy else "")


def interruption(check: CheckReport) -> str:
    """How far a check came before Ctrl-C."""
    return f"interrupted: {check.checked:,} of {len(check.models) + check.unchecked:,} models checked"


def problem(model: CheckedModel) -> str | None:
    """UNCHECKED where the model could not be checked, PARTLY where only not as asked, None where all went well."""
    if model.error is None:
        return None
    return UNCHECKED if model.report is None else PARTLY


def worst(model: CheckedModel) -> Severity | None:
    """The severest new finding; a model that could not be checked counts as an error."""
    if model.error is not None:
        return "error"
    return next((severity for severity in SEVERITIES if model.count(severity)), None)


def reason(model: CheckedModel) -> str:
    """Why a model could not be checked (as asked), without its path."""
    return (model.error or "").removeprefix(f"{model.path}: ")


def prefixed(prefix: str, path: str) -> str:
    """The path of a model after a prefix; of an absolute one only the file's name, and without a prefix as it is.

    The prefix is a folder or a URL.
    """
    if not prefix:
        return path
    relative = posixpath.basename(path) if posixpath.isabs(path) else path
    scheme, separator, folder = prefix.replace("\\", "/").rpartition("://")
    return f"{scheme}{separator}{posixpath.normpath(posixpath.join(folder, relative))}"


def stale_lines(check: CheckReport) -> list[str]:
    """The lines of the baseline that no longer hold."""
    return [f"{each.model}: {each.rule}" + (f" at {each.layer}" if each.layer else "") for each in check.stale]


def skipped_line(check: CheckReport) -> str:
    """'12 files in folders were left out: .json (8), .md (3) and .txt (1)'; empty where none was."""
    if not check.skipped:
        return ""
    kinds = listed([f"{ending} ({n:,})" for ending, n in check.skipped.items()], 5)
    return f"{count(sum(check.skipped.values()), 'file')} in folders left out, no models by name: {kinds}."


STALE = "In the baseline and no longer found; write it again to drop them"
