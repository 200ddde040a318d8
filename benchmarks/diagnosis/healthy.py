"""False alarms: healthy models on right data, on skewed data and on other data without loss, and fine-tuned nets."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.diagnosis.examine import healthy, look
from benchmarks.diagnosis.inputs import input_faults
from benchmarks.diagnosis.samples import Samples
from benchmarks.diagnosis.subjects import Subject, accuracy, are_tokens, cached, prepared, train
from normdiag.records import Report

SIZES = ((64, 2), (128, 16), (256, 32), (500, 256), (1000, 100))


@dataclass(frozen=True, eq=False)
class Quiet:
    """A run on which nothing is wrong. `skewed`: its data is not like that of training, though no answer suffers."""

    subject: str
    what: str
    accuracy: float
    report: Report
    skewed: bool = False


def quiet_runs(subject: Subject) -> Iterator[Quiet]:
    """All of them."""
    yield from right_data(subject)
    yield from skewed(subject)
    yield from harmless(subject)
    yield from frozen(subject)


def right_data(subject: Subject) -> Iterator[Quiet]:
    """Of several sizes, in batches of several sizes, on both backends."""
    data_at_hand = joined(subject.test, subject.training)
    for samples, batch in SIZES:
        data = data_at_hand[:samples]
        case = replace(healthy(subject), subject=replace(subject, shown=samples), fed=data)
        right = accuracy(subject.module, subject.x(data.stored), data.labels)
        what = f"{len(data)} samples in batches of {batch}"
        yield Quiet(subject.name, what, right, look(subject.module, case, batch))
        yield Quiet(subject.name, f"{what}, ONNX", right, look(exported(subject), case, batch))


def joined(first: Samples, second: Samples) -> Samples:
    return Samples(np.concatenate([first.stored, second.stored]), np.concatenate([first.labels, second.labels]))


@cache
def exported(subject: Subject) -> Path:
    """The model as an ONNX file with its norms left in and a free batch axis."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            subject.copied(),
            (subject.x(subject.test.stored[:3]),),
            path,
            dynamo=True,
            optimize=False,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    return path


def skewed(subject: Subject) -> Iterator[Quiet]:
    """One class, two classes, sorted by class, few images again and again."""
    data, both = subject.test, joined(subject.test, subject.training)
    order = np.argsort(both.classes, kind="stable")
    repeated = np.tile(np.arange(8), 32)
    sets = {
        "one class": both[np.flatnonzero(both.classes == 3)],
        "two classes": both[np.flatnonzero(both.classes <= 1)],
        "sorted, the first 300": both[order[:300]],
        "8 samples, again and again": data[repeated],
    }
    for what, some in sets.items():
        right = accuracy(subject.module, subject.x(some.stored), some.labels)
        yield Quiet(subject.name, what, right, look(subject.module, replace(healthy(subject), fed=some)), skewed=True)


def harmless(subject: Subject) -> Iterator[Quiet]:
    """Data of another kind that costs at most 2 points."""
    before = accuracy(subject.module, subject.x(), subject.test.labels)
    for case in input_faults(subject):
        after = accuracy(subject.module, prepared(case.fed.stored, case.recipe), case.fed.labels)
        if after >= before - 2.0:
            what = f"{case.kind} {case.strength}"
            yield Quiet(subject.name, what, after, look(subject.module, case), skewed=True)


def frozen(subject: Subject) -> Iterator[Quiet]:
    """Fine-tuned with frozen norms on data of another domain, and run on it."""
    if are_tokens(subject.test.stored):
        return  # these have no contrast
    for strength, change in (("inverted", -1.0), ("flat", 0.4)):
        module, inputs = _fine_tuned(subject, strength, change)
        data = Samples(inputs.numpy(), subject.test.labels)
        case = replace(healthy(subject), fed=data, recipe=None)
        right = accuracy(module, inputs, data.labels)
        yield Quiet(subject.name, f"fine-tuned with frozen norms, {strength}", right, look(module, case), skewed=True)


def _fine_tuned(subject: Subject, strength: str, contrast: float) -> tuple[nn.Module, torch.Tensor]:
    """The module, and the test data of the domain that it was tuned on."""
    x = subject.x(subject.training.stored)

    def other(values: torch.Tensor) -> torch.Tensor:
        return x.mean() + contrast * (values - x.mean())

    def fit(module: nn.Module) -> None:
        module.eval()
        for _ in train(module, other(x), subject.training.labels, steps=150, lr=0.003, seed=5):
            pass

    return cached(f"frozen/{subject.name} {strength}", subject.copied, fit), other(subject.x())
