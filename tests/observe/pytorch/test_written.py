"""Groups out of the values that a written-out normalization takes, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.observe.pytorch.written import written_groups
from normdiag.records import NormKind, NormLayer

X = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 6, 5, 7)).astype(np.float32)


def smallest(kind: NormKind, x: np.ndarray, axis: int, **facts: int) -> float:
    groups = written_groups(NormLayer("n", kind, "decomposed", eps=1e-5, **facts), x, axis)  # type: ignore[arg-type]
    assert groups is not None
    return float(groups.variance_min)


def test_over_the_last_axis_and_over_the_channels() -> None:
    assert smallest("layer_norm", X, 3, normalized_rank=1) == pytest.approx(X.var(3).min(), rel=1e-5)
    assert smallest("layer_norm", X, 1, normalized_rank=1) == pytest.approx(X.var(1).min(), rel=1e-5)
    assert smallest("rms_norm", X, 3, normalized_rank=1) == pytest.approx((X**2).mean(3).min(), rel=1e-5)


def test_over_several_axes() -> None:
    assert smallest("layer_norm", X, 3, normalized_rank=2) == pytest.approx(X.var((2, 3)).min(), rel=1e-5)


def test_over_positions_and_groups_of_channels() -> None:
    assert smallest("instance_norm", X, 1) == pytest.approx(X.var((2, 3)).min(), rel=1e-5)
    grouped = X.reshape(4, 2, -1).var(2).min()
    assert smallest("group_norm", X, 1, groups=2) == pytest.approx(grouped, rel=1e-5)
    last = np.moveaxis(X, 1, -1)
    assert smallest("group_norm", last, 3, groups=2) == pytest.approx(grouped, rel=1e-5)


def test_nothing_for_the_batch_and_for_no_values() -> None:
    assert written_groups(NormLayer("n", "batch_norm", "decomposed"), X, 1) is None
    assert written_groups(NormLayer("n", "layer_norm", "decomposed", normalized_rank=1), X[:0], 3) is None
