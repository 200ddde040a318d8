"""The error of what replaced statistics change, against its scatter over made-up samples."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.metrics import output_change, recalibration_change
from normdiag.observe.gap import output_sums
from normdiag.records import OutputChange, OutputSums, Span

BATCHES, SIZE, CLASSES = 16, 16, 3


def drawn(seed: int, batches: int = BATCHES) -> tuple[OutputChange, OutputChange]:
    """With the part of the statistics in the error, and without: each batch moves all of its outputs."""
    random = np.random.default_rng(seed)
    shape = (batches, SIZE, CLASSES)
    deployed = random.normal(size=shape)
    off = np.array([0.5, 0.0, 0.0]) + 0.4 * random.normal(size=(batches, 1, CLASSES))
    batched, replaced = deployed + off, deployed + off.mean(0)

    def sums(one: NDArray[np.float64], other: NDArray[np.float64]) -> OutputSums:
        return reduce(add, (output_sums(one[index], other[index], Span(index, 1)) for index in range(batches)))

    change = output_sums(deployed.reshape(-1, CLASSES), replaced.reshape(-1, CLASSES))
    return recalibration_change(change, sums(deployed, batched), sums(replaced, batched)), output_change(change)


@pytest.mark.parametrize("figure", ["relative_rms", "js_divergence"])
def test_the_error_holds_for_other_data_with_statistics_of_its_own(figure: str) -> None:
    found = [drawn(seed) for seed in range(150)]
    scatter = np.std([getattr(with_, figure) for with_, _ in found], ddof=1)
    error = np.mean([getattr(with_, f"{figure}_se") for with_, _ in found])
    fixed = np.mean([getattr(without, f"{figure}_se") for _, without in found])
    assert 0.8 <= error / scatter <= 1.3
    assert fixed / scatter < 0.5, "the samples alone do not show it"


def test_of_few_batches_the_error_is_that_over_samples() -> None:
    with_, without = drawn(0, batches=3)
    assert with_ == without


def test_the_figures_and_the_other_errors_are_as_before() -> None:
    with_, without = drawn(0)
    assert with_.relative_rms == without.relative_rms
    assert (with_.answers_changed_se, with_.decided_se) == (without.answers_changed_se, without.decided_se)
