"""The causes on layers made by hand: each on its own formula, and none on what no formula explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.comparison.causes import cause_of
from normdiag.comparison.causes.evidence import PartingEvidence, Side, distance
from normdiag.comparison.formulas import in_groups, normalized, with_batch_statistics
from normdiag.records import NormLayer, Op
from normdiag.records.diff import LayerDifference, TensorDifference
from normdiag.records.opgraph import OpKind
from normdiag.records.ops import Norm, Opaque

RNG = np.random.default_rng(0)
X = RNG.normal(0.3, 1.5, (4, 8, 5, 5))
GAMMA, BETA = RNG.uniform(0.5, 1.5, 8), RNG.normal(size=8)
BATCH = NormLayer("bn", "batch_norm", "module", 8, 1e-5, 0.1, GAMMA, BETA, RNG.normal(size=8), RNG.uniform(0.5, 2, 8))
GROUP = NormLayer("gn", "group_norm", "module", 8, 1e-5, None, GAMMA, BETA, groups=2)
LAYER = NormLayer("ln", "layer_norm", "module", 5, 1e-5, None, GAMMA[:5], BETA[:5], normalized_rank=1)
TRACKED = replace(BATCH, kind="instance_norm")
NORMS = (BATCH, GROUP, LAYER, TRACKED)


def side(letter: str, y: np.ndarray, norm: NormLayer | None, x: np.ndarray | None = X, kind: OpKind = "norm") -> Side:
    detail = Norm(norm) if norm is not None else Opaque("unknown")
    return Side(letter, Op("layer", kind, kind, ("x",), ("y",), detail), x, y, "float32", X)  # type: ignore[arg-type]


def evidence(
    norm: NormLayer, y_b: np.ndarray, other: NormLayer | None, stored: LayerDifference | None = None
) -> PartingEvidence:
    y = normalized(X, norm)
    assert y is not None
    layers = () if stored is None else (stored,)
    return PartingEvidence(side("A", y, norm), side("B", y_b, other), stored, layers, 1e-5)


def causes(seen: PartingEvidence) -> tuple[str | None, str | None]:
    """In both orders, the letters as they are in the first."""
    found = [cause_of(each) for each in (seen, seen.swapped)]
    return found[0] and found[0].cause, found[1] and found[1].cause


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.kind)
@pytest.mark.parametrize("told", [True, False], ids=["as a norm", "spelled out"])
def test_noise_has_no_cause(norm: NormLayer, told: bool) -> None:
    y = normalized(X, norm)
    assert y is not None
    noise = 0.1 * RNG.normal(size=y.shape)
    assert causes(evidence(norm, y + noise, norm if told else None)) == (None, None)


@pytest.mark.parametrize("told", [True, False], ids=["as a norm", "spelled out"])
def test_statistics_of_the_batch(told: bool) -> None:
    y = with_batch_statistics(X, BATCH)
    assert y is not None
    assert causes(evidence(BATCH, y, BATCH if told else None)) == ("training_mode", "training_mode")


def test_statistics_of_each_sample() -> None:
    y = in_groups(X, TRACKED, 8)
    assert y is not None
    other = replace(TRACKED, running_mean=None, running_var=None)
    assert causes(evidence(TRACKED, y, other)) == ("instance_statistics", "instance_statistics")


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_another_number_of_groups(groups: int) -> None:
    y = in_groups(X, GROUP, groups)
    assert y is not None
    assert causes(evidence(GROUP, y, None))[0] == "other_groups"


@pytest.mark.parametrize("norm", (BATCH, GROUP, LAYER), ids=lambda norm: norm.kind)
@pytest.mark.parametrize("eps", [1e-3, 0.05])
def test_another_eps_that_no_file_tells(norm: NormLayer, eps: float) -> None:
    y = normalized(X, norm, eps)
    assert y is not None
    case = cause_of(evidence(norm, y, None))
    assert case is not None and case.cause == "other_eps"
    assert float(case.evidence.split()[2]) == pytest.approx(eps, rel=0.05)


def test_values_at_other_places() -> None:
    seen = evidence(BATCH, normalized(X, BATCH), BATCH)  # type: ignore[arg-type]
    turned = replace(seen.b, x=X.transpose(0, 1, 3, 2), y=RNG.normal(size=X.shape))
    case = cause_of(replace(seen, b=turned))
    assert case is not None and case.cause == "axes_swapped" and "(0, 1, 3, 2)" in case.evidence


def test_weights_that_differ_are_told_with_how_many() -> None:
    change = TensorDifference(0.02, 1e6, "float32", False)
    stored = LayerDifference("layer", "layer", "name", "conv", weights=change)
    y = RNG.normal(size=X.shape)
    seen = PartingEvidence(
        side("A", y, None, kind="conv"), side("B", 1.02 * y, None, kind="conv"), stored, (stored,), 1e-5
    )
    case = cause_of(seen)
    assert case is not None and case.cause == "other_weights"
    rounded = replace(stored, weights=replace(change, rounding=True))
    assert cause_of(replace(seen, stored=rounded, layers=(rounded,))) is None


def test_distance_counts_what_is_not_finite() -> None:
    a = np.array([1.0, np.inf, 2.0])
    assert distance(a, a) == 0
    assert distance(a, np.array([1.0, 5.0, 2.0])) == np.inf
    assert distance(a, np.array([1.5, np.inf, 2.0])) == 0.25
