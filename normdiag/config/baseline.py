"""Known findings, kept in a file beside the code: they do not fail the gate, and what has been fixed is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any, get_args

from normdiag.data.specs import exists
from normdiag.errors import InputError
from normdiag.records import CheckedModel, CheckReport, Finding, KnownFinding, Severity
from normdiag.records.check import RANKS
from normdiag.rules import RULES

VERSION = 2
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


def read(path: Path) -> tuple[KnownFinding, ...]:
    """The findings that a baseline lists. Raises InputError for a file that is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: the baseline cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no baseline: not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("findings"), list):
        raise InputError(f"{path}: is no baseline: write one with --write-baseline")
    if document.get("version") != VERSION:
        found = json.dumps(document.get("version"))[:20]
        raise InputError(f"{path}: a baseline of version {found}, not {VERSION}; write it again with --write-baseline")
    return tuple(_known(entry, path) for entry in document["findings"])


def _known(entry: Any, path: Path) -> KnownFinding:
    if isinstance(entry, dict):
        model, rule, layer = entry.get("model"), entry.get("rule"), entry.get("layer")
        severity = next((each for each in SEVERITIES if each == entry.get("severity")), None)
        if isinstance(model, str) and isinstance(rule, str) and (layer is None or isinstance(layer, str)) and severity:
            return KnownFinding(model, rule, layer, severity)
    lacks = "this entry has no model, rule, layer and severity"
    raise InputError(f"{path}: is no baseline: {lacks}: {json.dumps(entry)[:200]}")


def dump(report: CheckReport, folder: Path) -> str:
    """All findings of a check as a baseline in `folder`: sorted, a layer a line, the same for the same findings."""
    found: dict[tuple[str, str, str | None], KnownFinding] = {}
    for each in _lines(report.models, folder):
        before = found.setdefault((each.model, each.rule, each.layer), each)
        if RANKS[each.severity] < RANKS[before.severity]:
            found[each.model, each.rule, each.layer] = each
    ordered = sorted(found.values(), key=lambda each: (each.model, each.rule, each.layer is not None, each.layer or ""))
    lines = [json.dumps(asdict(each)) for each in ordered]
    body = ",".join(f"\n    {line}" for line in lines) + ("\n  " if lines else "")
    return f'{{\n  "version": {VERSION},\n  "findings": [{body}]\n}}\n'


def apply(report: CheckReport, known: Sequence[KnownFinding], path: Path) -> CheckReport:
    """The report with what the baseline at `path` lists marked as known, and the lines that no longer hold.

    A finding of layers that are known and of others becomes two, so that each is known or new.
    """
    by_model: dict[str, dict[tuple[str, str | None], Severity]] = {}
    for each in known:
        by_model.setdefault(each.model, {})[each.rule, each.layer] = each.severity
    models = tuple(_told_apart(model, by_model.get(_relative(model.path, path.parent), {})) for model in report.models)
    stale = tuple(dict.fromkeys(_stale(models, known, path.parent)))
    return replace(report, models=models, baseline=str(path), stale=stale)


def _told_apart(model: CheckedModel, known: Mapping[tuple[str, str | None], Severity]) -> CheckedModel:
    """The model with what is known of it, and findings that are known or new as a whole."""
    marked = replace(model, known=known)
    if model.report is None:
        return marked

    def parts(finding: Finding) -> Iterator[Finding | None]:
        yield finding.only(lambda layer: not marked.lists(finding, layer))
        if finding.layers:
            yield finding.only(lambda layer: marked.lists(finding, layer))

    findings = tuple(part for finding in model.findings for part in parts(finding) if part is not None)
    return replace(marked, report=replace(model.report, findings=findings))


def _lines(models: Iterable[CheckedModel], folder: Path) -> Iterator[KnownFinding]:
    """What the findings of the models are in a baseline: one line for each layer of each."""
    for model in models:
        path = _relative(model.path, folder)
        for finding in model.findings:
            for layer in finding.layers or (None,):
                yield KnownFinding(path, finding.rule, layer, finding.severity)


def _stale(models: Iterable[CheckedModel], known: Iterable[KnownFinding], folder: Path) -> Iterator[KnownFinding]:
    """Lines that this run had the chance to find and did not, and those of files that are gone."""
    checked = {_relative(model.path, folder): model for model in models}
    found = {(each.model, each.rule, each.layer) for each in _lines(models, folder)}
    on_data = {rule.id for rule in RULES if rule.needs_data}
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
    """The path of a model from the folder, on whatever ways through links the two are named; a link itself counts."""
    place = os.path.realpath(Path(path).parent)
    return PurePath(os.path.relpath(Path(place, Path(path).name), os.path.realpath(folder))).as_posix()
