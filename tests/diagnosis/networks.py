"""Reports of made-up networks of BatchNorm layers: what they store, and what the data shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.metrics import measure_drift
from normdiag.metrics.layers import effective_samples
from normdiag.metrics.stored import measure_stored_fit
from normdiag.records import (
    ChannelSums,
    DataInfo,
    Diagnosis,
    LayerMetrics,
    MeanResponse,
    ModelInfo,
    NormLayer,
    OnTrainingData,
    OutputChange,
    Recalibration,
    Report,
    Span,
)
from normdiag.rules import RULES, with_findings

Floats = NDArray[np.float64]
SAMPLES, CHANNELS, EPS, BATCH = 256, 32, 1e-5, 32
INFO = ModelInfo("m.pt", "torch-zip", "pytorch", None, 1, 1)
RULES_HERE = tuple(rule for rule in RULES if not rule.needs_graph)


@dataclass(frozen=True, eq=False)
class Truth:
    """What the data has in a layer (C,), and what the layer stores; the same unless changed.

    `response` (C, F) is what the F inputs of the linear layer before it add to its means, where that is known.
    """

    mean: Floats
    var: Floats
    stored_mean: Floats
    stored_var: Floats
    gamma: Floats
    beta: Floats
    response: Floats | None = None


Change = Callable[[Truth], Truth]


def network(depth: int = 6, seed: int = 0) -> list[Truth]:
    """Layers whose statistics are right."""
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(depth):
        mean, var = rng.normal(0, 0.6, CHANNELS), np.exp(rng.normal(-0.5, 0.7, CHANNELS))
        gamma, beta = 1 + 0.1 * rng.normal(size=CHANNELS), 0.2 * rng.normal(size=CHANNELS)
        layers.append(Truth(mean, var, mean, var, gamma, beta))
    return layers


def changed(layers: Sequence[Truth], change: Change, *where: int) -> list[Truth]:
    """With a change in some layers, or in all."""
    return [change(each) if not where or index in where else each for index, each in enumerate(layers)]


def report(layers: Sequence[Truth], *, answers: float = 0.3, decided: float = 0.5) -> Report:
    """The report with its diagnosis. The data's own statistics change so many `answers`, and make them `decided`."""
    rows = tuple(_metrics(f"bn{index}", each, index) for index, each in enumerate(layers))
    change = OutputChange(0.5, 0.02, answers, 0.02, 0.1, 0.01, decided, 0.05)
    noise = OutputChange(0.05, 0.01, 0.01, 0.005, 0.001, 0.001, 0.0, 0.02)
    found = Report(
        INFO, DataInfo("val.npz", SAMPLES, BATCH, SAMPLES // BATCH, preprocess="raw", distinct=SAMPLES), rows
    )
    found = replace(found, recalibration=Recalibration("y", SAMPLES, BATCH, change, noise))
    return diagnosed(with_findings(found, RULES_HERE), CAUSES)


def with_training_data(found: Report, layers: Sequence[Truth]) -> Report:
    """The report, concluded anew, with what the model shows on training data."""
    assert found.data is not None
    rows = tuple(_metrics(f"bn{index}", each, index + 50) for index, each in enumerate(layers))
    seen = OnTrainingData(replace(found.data, source="train.npz"), rows, recalibration=found.recalibration)
    return diagnosed(replace(found, on_training_data=seen, diagnosis=()), CAUSES)


def first(found: Report) -> Diagnosis:
    """The most important cause."""
    assert found.diagnosis, [each.message for each in found.findings]
    return found.diagnosis[0]


def _metrics(name: str, truth: Truth, seed: int) -> LayerMetrics:
    layer = NormLayer(
        name,
        "batch_norm",
        "module",
        CHANNELS,
        EPS,
        momentum=0.1,
        num_batches_tracked=None,
        gamma=truth.gamma,
        beta=truth.beta,
        running_mean=truth.stored_mean,
        running_var=truth.stored_var,
    )
    sums = _sums(truth, seed)
    drift = measure_drift(sums, truth.stored_var, EPS)
    size, error = effective_samples(drift)
    return LayerMetrics(
        layer,
        1,
        drift,
        drift,
        0.05,
        effective_samples=size,
        effective_samples_se=error,
        stored_fit=measure_stored_fit(layer, sums, drift),
        response=None if truth.response is None else MeanResponse(truth.response, 0.0),
    )


def _sums(truth: Truth, seed: int) -> ChannelSums:
    """Samples whose means scatter by a third of the deviation, and the mean squares that go with the variance."""
    rng = np.random.default_rng(seed + 100)
    scatter = rng.normal(size=(SAMPLES, CHANNELS)) * np.sqrt(truth.var) / 3
    m = scatter - scatter.mean(0) + truth.mean - truth.stored_mean
    within = truth.var - scatter.var(0)
    q = m * m + within * (1 + 0.1 * rng.normal(size=(SAMPLES, CHANNELS)))
    batches = [ChannelSums.of(m[i : i + BATCH], q[i : i + BATCH], Span(i, BATCH)) for i in range(0, SAMPLES, BATCH)]
    total = batches[0]
    for each in batches[1:]:
        total = total + each
    return total
