"""Weights that were written after training, told from those that training or half precision leave."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.metrics.rewritten import rewritten

TRAINED = np.random.default_rng(0).normal(0, 0.1, (24, 16, 3, 3)).astype(np.float32)


def pruned(weight: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return np.where(np.abs(weight) > np.quantile(np.abs(weight), share), weight, np.float32(0.0))


def test_training_leaves_hardly_any_weight_twice() -> None:
    assert rewritten(TRAINED) < 0.01


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_pruned_weights_are_zeros(share: float) -> None:
    assert rewritten(pruned(TRAINED, share)) == pytest.approx(share, abs=0.02)


def test_rounded_weights_repeat_each_other() -> None:
    step = np.float32(np.abs(TRAINED).max() / 7)
    assert rewritten(np.round(TRAINED / step) * step) > 0.99


def test_half_precision_repeats_values_by_itself() -> None:
    brain = (TRAINED.view(np.uint32) & 0xFFFF0000).view(np.float32)
    half = TRAINED.astype(np.float16)
    assert rewritten(brain) == rewritten(half) == 0.0
    assert rewritten(pruned(half.astype(np.float32), 0.5)) == pytest.approx(0.5, abs=0.02)


def test_dead_outputs_and_masks_say_nothing() -> None:
    dead = TRAINED * (np.arange(24) < 8)[:, None, None, None]
    masked = TRAINED * (np.arange(9).reshape(3, 3) < 5)
    assert max(rewritten(dead), rewritten(masked)) < 0.01 and rewritten(np.zeros((4, 2))) == 0.0
