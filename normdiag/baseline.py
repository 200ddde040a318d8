"""Known findings, kept in a file beside the code: they do not fail the gate, and what has been fixed is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from normdiag.data.specs import exists
from normdiag.errors import InputError
from normdiag.records import CheckedModel, CheckReport, KnownFinding
from normdiag.rules import RULES, Rule

VERSION = 1


def read(path: Path) -> tuple[KnownFinding, ...]:
    """The findings that a baseline lists. Raises InputError for a file that is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the baseline cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no baseline: not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("findings"), list):
        raise InputError(f"{path}: is no baseline: write one with --write-baseline")
    if document.get("version") != VERSION:
        raise InputError(f"{path}: a baseline of version {document.get('version')!r}; write it again")
    return tuple(_known(entry, path) for entry in document["findings"])


def _known(entry: Any, path: Path) -> KnownFinding:
    if isinstance(entry, dict):
        model, rule, layer = entry.get("model"), entry.get("rule"), entry.get("layer")
        if isinstance(model, str) and isinstance(rule, str) and (layer is None or isinstance(layer, str)):
            return KnownFinding(model, rule, layer)
    raise InputError(f"{path}: is no baseline: this entry has no model, rule and layer: {json.dumps(entry)[:200]}")


def dump(report: CheckReport, folder: Path) -> str:
    """All findings of a check as a baseline in `folder`: sorted, a finding a line, the same for the same findings."""
    found = {
        KnownFinding(_relative(model.path, folder), finding.rule, finding.layer)
        for model in report.models
        for finding in model.findings
    }
    ordered = sorted(found, key=lambda each: (each.model, each.rule, each.layer is not None, each.layer or ""))
    lines = [json.dumps({"model": each.model, "rule": each.rule, "layer": each.layer}) for each in ordered]
    body = ",".join(f"\n    {line}" for line in lines) + ("\n  " if lines else "")
    return f'{{\n  "version": {VERSION},\n  "findings": [{body}]\n}}\n'


def apply(report: CheckReport, known: Sequence[KnownFinding], path: Path, rules: Sequence[Rule] = RULES) -> CheckReport:
    """The report with what the baseline at `path` lists marked as known, and the entries that no longer hold."""
    by_model: dict[str, set[tuple[str, str | None]]] = {}
    for each in known:
        by_model.setdefault(each.model, set()).add((each.rule, each.layer))
    models = tuple(
        replace(model, known=frozenset(by_model.get(_relative(model.path, path.parent), ()))) for model in report.models
    )
    stale = tuple(dict.fromkeys(_stale(models, known, path.parent, rules)))
    return replace(report, models=models, baseline=str(path), stale=stale)


def _stale(
    models: Iterable[CheckedModel], known: Iterable[KnownFinding], folder: Path, rules: Sequence[Rule]
) -> Iterator[KnownFinding]:
    """Entries that this run had the chance to find and did not, and those of files that are gone."""
    checked = {_relative(model.path, folder): model for model in models}
    found = {(path, each.rule, each.layer) for path, model in checked.items() for each in model.findings}
    on_data = {rule.id for rule in rules if rule.needs_data}
    for each in known:
        model = checked.get(each.model)
        if model is None or model.report is None:
            gone = not exists(str(folder / each.model))
        else:
            ran = each.rule in model.rules and (model.report.data is not None or each.rule not in on_data)
            gone = ran and not model.report.interrupted and (each.model, each.rule, each.layer) not in found
        if gone:
            yield each


def _relative(path: str, folder: Path) -> str:
    return PurePath(os.path.relpath(path, folder)).as_posix()
