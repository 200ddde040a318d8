"""One case looked at: the report, the accuracy without and with the fault, and what each remedy, carried out, gives."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import nn

import normdiag
from benchmarks.diagnosis.case import Case
from benchmarks.diagnosis.deployments import in_half
from benchmarks.diagnosis.subjects import CACHE, Subject, accuracy, prepared, recalibrated
from normdiag.errors import InputError, UsageError
from normdiag.records import Report


@dataclass(frozen=True, eq=False)
class Seen:
    """A case's names and figures. `remedies` holds the accuracy after each that can be carried out without a choice."""

    id: str
    subject: str
    kind: str
    strength: str
    place: str
    causes: tuple[str, ...]
    layers: frozenset[str]
    pipeline: bool
    before: float
    after: float
    remedies: Mapping[str, float]
    report: Report

    @property
    def costs(self) -> float:
        return self.before - self.after


def examine(case: Case) -> Seen:
    """Run the model, the diagnosis and the remedies."""
    subject, module = case.subject, case.make()
    x = prepared(case.fed.stored, case.recipe)
    before = accuracy(case.reference(), subject.x(), subject.test.labels) if case.reference else right(subject)
    after = served(case, module, x)
    training = subject.x(subject.training.stored)
    remedies = dict.fromkeys(case.repairs, before)
    if not case.serve and not case.half:
        remedies["recalibrate"] = accuracy(recalibrated(module, training), x, case.fed.labels)
    if case.place == "input":
        if not case.pipeline:
            remedies["check_training_data"] = before
    elif case.reference is None and not case.serve:
        remedies["reload_weights"] = before
    return Seen(
        id=case.id,
        subject=subject.name,
        kind=case.kind,
        strength=case.strength,
        place=case.place,
        causes=case.causes,
        layers=case.layers,
        pipeline=case.pipeline,
        before=before,
        after=after,
        remedies=remedies,
        report=look(module, case),
    )


@cache
def right(subject: Subject) -> float:
    """The accuracy of the healthy model."""
    return accuracy(subject.module, subject.x(), subject.test.labels)


@cache
def reach(subject: Subject) -> float:
    """The accuracy of the healthy model with the statistics of the training data that is at hand."""
    training = subject.x(subject.training.stored)
    return accuracy(recalibrated(subject.module, training), subject.x(), subject.test.labels)


def served(case: Case, module: nn.Module, x: torch.Tensor) -> float:
    """The accuracy as deployed."""
    running = in_half(module) if case.half else module
    return accuracy(running, x, case.fed.labels, case.serve or 100)


def look(model: nn.Module | Path, case: Case, batch_size: int | None = None) -> Report:
    """`inspect` on the file of the data and its labels, in batches of the subject's size where none is given."""
    options = normdiag.DataOptions(preprocess=case.recipe, batch_size=batch_size or case.subject.batch)
    target = "fp16" if case.half else None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "data.npz"
        np.savez(path, x=case.fed.stored[: case.subject.shown], y=case.fed.labels[: case.subject.shown])
        return normdiag.inspect(
            model,
            data=[str(path)],
            data_options=options,
            target=target,  # type: ignore[arg-type]
            serve_batch=case.serve,
        )


def seen(case: Case, *, fresh: bool = False) -> Seen:
    """From the cache, if it is there and wanted: what is concluded changes more often than what is measured."""
    path = CACHE / "seen" / f"{sha256(case.id.encode()).hexdigest()[:24]}.pickle"
    if path.is_file() and not fresh:
        found: Seen = pickle.loads(path.read_bytes())
        return found
    found = examine(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(found))
    return found


def with_option(case: Case, option: str) -> float:
    """The accuracy with this `--preprocess` in place of the case's own; 0 where it does not fit."""
    try:
        x = prepared(case.fed.stored, option)
    except (InputError, UsageError):
        return 0.0
    return served(case, case.make(), x)


def healthy(subject: Subject) -> Case:
    """The subject as it is, on its own data."""
    return Case(subject, "healthy", "", "", (), frozenset(), subject.copied, subject.test, subject.recipe)
