"""Groups, activations, the gap and its attribution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from normdiag.metrics import (
    explained,
    gradient_product,
    measure_activations,
    measure_gap,
    measure_layers,
    needs_explaining,
    output_change,
    rank_attribution,
)
from normdiag.metrics.groups import measure_groups, median_variance
from normdiag.metrics.laws import after_norm
from normdiag.records import (
    ActivationSums,
    ChannelSums,
    Evidence,
    GroupSums,
    LayerEvidence,
    NormLayer,
    OutputSums,
)
from normdiag.records.group_sums import VarianceCounts


def groups(**changes: object) -> GroupSums:
    values: dict[str, object] = {
        "group_size": 4,
        "channel_count": 10,
        "abs_max": 3.0,
    }
    values.update(changes)
    return GroupSums.of(np.array([0.5, 1.0, 2.0]), np.array([10.0, 40.0, 90.0]), **values)  # type: ignore[arg-type]


def layer(name: str = "bn", eps: float | None = 1e-5) -> NormLayer:
    return NormLayer(name, "batch_norm", "module", 1, eps, running_mean=np.zeros(1), running_var=np.ones(1))


def sums(shift: float, n: int = 100, seed: int = 0) -> ChannelSums:
    m = np.random.default_rng(seed).normal(size=(n, 1)) * 0.1 + shift
    return ChannelSums.of(m, m * m + 1.0)


def output(difference: float, reference: float, changed: int | None = None) -> OutputSums:
    """An output of ten rows."""
    one = np.full(10, 0.1)
    scores = () if changed is None else (np.arange(10) < changed, np.zeros(10))
    return OutputSums.of(difference * one, reference * one, *scores)


def test_groups() -> None:
    metrics = measure_groups(groups())
    np.testing.assert_allclose(metrics.channel_rms, [1.0, 2.0, 3.0])
    assert metrics.outlier_channel == 2
    assert metrics.outlier_ratio == pytest.approx(1.5)
    assert metrics.variance_min == 0.5
    assert metrics.variance_median == pytest.approx(1.0, rel=0.044)
    assert not metrics.half_overflow
    assert not metrics.single_element


def counted(variances: np.ndarray) -> VarianceCounts:
    return VarianceCounts.of(variances, np.arange(len(variances)) % 16)


def test_the_largest_sum_of_squares_is_that_of_the_group_with_the_largest_variance() -> None:
    assert measure_groups(groups()).largest_sum == pytest.approx(4 * 2.0)
    assert measure_groups(groups(group_size=100) + groups()).largest_sum == pytest.approx(4 * 2.0)


def test_half_overflow_begins_above_the_root_of_65504() -> None:
    assert not measure_groups(groups(abs_max=255.9)).half_overflow
    assert measure_groups(groups(abs_max=256.0)).half_overflow
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(256.0) ** 2)
        assert np.isfinite(np.float16(255.9) ** 2)


def test_one_element_groups_are_told() -> None:
    assert measure_groups(groups(group_size=1)).single_element


@pytest.mark.parametrize("seed", range(5))
def test_median_variance_is_right_to_half_a_bin(seed: int) -> None:
    variances = np.random.default_rng(seed).lognormal(0, 3, 501)
    assert median_variance(counted(variances)) == pytest.approx(np.median(variances), rel=0.044)


def test_median_of_zeros_is_zero() -> None:
    assert median_variance(counted(np.zeros(3))) == 0.0


def test_activations_and_the_gradient_that_is_left() -> None:
    sigmoid = ActivationSums.of("sigmoid", 10, np.array([[10, 5, 0]]), np.array([0.3]))
    rows = measure_activations({"a": sigmoid, "b": ActivationSums.of("relu", 4, np.array([[4, 4]]), np.array([0.0]))})
    assert (rows[0].saturated_fraction, rows[0].units, rows[0].dead_units) == (0.5, 3, 1)
    assert rows[0].mean_squared_derivative == pytest.approx(0.01)
    assert rows[1].dead_units == 2
    product = gradient_product(dict.fromkeys("abc", sigmoid))
    assert product is not None
    assert product.mean_squared == pytest.approx(1e-6)
    assert product.rms == pytest.approx(1e-3)
    assert product.sigmoid_bound == 0.25**3
    assert gradient_product({}) is None


def test_a_network_in_which_nothing_passes_has_a_gradient_of_nothing() -> None:
    dead = ActivationSums.of("relu", 4, np.array([[4, 4]]), np.array([0.0]))
    product = gradient_product({"a": dead})
    assert product is not None and product.rms == 0.0 and not product.rms_se


def test_the_gap_is_that_of_the_output_that_differs_most() -> None:
    evidence = Evidence(
        samples=10,
        batches=1,
        batch_size=10,
        gap_samples=10,
        outputs={"small": output(1.0, 100.0, 1), "large": output(25.0, 100.0)},
    )
    gap = measure_gap(evidence)
    assert gap is not None
    assert (gap.output, gap.relative_rms, gap.top1_disagreement) == ("large", 0.5, None)
    assert gap.explained_drift is None


@pytest.mark.parametrize(("difference", "reference", "expected"), [(0.0, 0.0, 0.0), (1.0, 0.0, math.inf)])
def test_a_zero_output_is_no_crash(difference: float, reference: float, expected: float) -> None:
    gap = measure_gap(Evidence(2, 1, 2, 2, outputs={"y": output(difference, reference)}))
    assert gap is not None
    assert gap.relative_rms == expected


def test_the_shares_of_a_gap_are_what_goes_and_what_is_left() -> None:
    assert explained(output(8.0, 1.0), output(2.0, 5.0), 1) == (0.75, 0.25, 0.0)
    assert explained(output(8.0, 1.0), output(9.0, 5.0), 1)[:2] == (0.0, 1.0), "replaced statistics that only add to it"
    assert explained(output(0.0, 1.0), output(0.0, 1.0), 1) == (None, None, None)
    assert explained(output(math.nan, 1.0), output(1.0, 1.0), 1) == (None, None, None)


def test_the_share_of_noise_does_not_depend_on_how_many_batches_the_statistics_are_from() -> None:
    random = np.random.default_rng(0)
    for batches in (2, 4, 16):
        noise = random.normal(size=(20_000, batches))  # outputs that are off by the chance of their batch, and by drift
        own = noise.mean(1, keepdims=True)
        total, left = np.square(2.0 + noise).sum(), np.square(noise - own).sum()
        drift, share, _ = explained(output(float(total), 1.0), output(float(left), 1.0), batches)
        assert (drift, share) == pytest.approx((0.8, 0.2), abs=0.01)


@pytest.mark.parametrize(
    ("spread", "gap", "wanted"),
    [
        (0.02, {}, False),
        (0.5, {}, True),
        (0.02, {"relative_rms": 0.3}, True),
        (0.02, {"relative_rms": math.nan}, True),
        (0.02, {"top1_disagreement": 0.05}, True),
    ],
)
def test_what_drifts_or_differs_wants_an_explanation(spread: float, gap: dict[str, float], wanted: bool) -> None:
    seen = Evidence(100, 1, 8, 100, {"bn": LayerEvidence(1, None, sums(spread))}, outputs={"y": output(1.0, 1000.0, 0)})
    found = measure_gap(seen)
    assert found is not None
    assert needs_explaining(replace(found, **gap), measure_layers([layer()], seen)) is wanted


def test_errors_of_a_gap_are_those_of_disjoint_samples() -> None:
    rng = np.random.default_rng(0)
    squares, changed = rng.exponential(1.0, (2, 200, 64)), rng.random((200, 64)) < 0.1
    found = [output_change(OutputSums.of(a, b, c, 0.5 * c)) for a, b, c in zip(*squares, changed, strict=True)]
    for figure in ("relative_rms", "answers_changed", "js_divergence"):
        values, errors = ([getattr(each, name) for each in found] for name in (figure, f"{figure}_se"))
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([5, 5, 5, 5], 4.0), ([10, 0, 0], 1.0), ([9, 3], 1.6), ([0, 0], None), (None, None)],
)
def test_how_many_classes_are_answered_with(answers: list[int] | None, expected: float | None) -> None:
    """Alike shares of K classes count as K, one class alone as 1; 9 to 3 is 1 / (0.75^2 + 0.25^2)."""
    counts = None if answers is None else np.array(answers)
    seen = Evidence(20, 1, 8, 20, outputs={"y": replace(output(0.1, 1.0), answers=counts)})
    found = measure_gap(seen)
    assert found is not None and found.answered == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("missing", ["gamma", "beta"])
def test_behind_a_norm_without_gamma_or_beta(missing: str) -> None:
    """As with one of ones, or of zeros."""
    values = {"gamma": np.ones(2), "beta": np.zeros(2)}
    norm = NormLayer("n", "batch_norm", "module", 2, 1e-5, running_var=np.array([0.5, 2.0]), **values)
    expected, found = after_norm(norm, 1, "n"), after_norm(replace(norm, **{missing: None}), 1, "n")
    assert expected is not None and found is not None
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.values, expected.values)


def test_no_drift_is_computed_where_eps_is_unknown() -> None:
    seen = Evidence(100, 1, 100, 100, {"bn": LayerEvidence(1, sums(0.0), sums(0.0))})
    assert measure_layers([layer(eps=None)], seen)[0].drift is None
    assert measure_layers([layer()], seen)[0].drift is not None
    assert measure_layers([layer("other")], seen)[0].calls == 0


def test_the_share_of_groups_below_eps() -> None:
    variances = np.array([0.0, 1e-30, 9e-6, 1.1e-5, 1.0])
    seen = GroupSums.of(variances, np.ones(4), group_size=4, channel_count=5, abs_max=1.0)
    assert measure_groups(seen, 1e-5).below_eps == pytest.approx(0.6)
    assert measure_groups(seen, 1e-40).below_eps == pytest.approx(0.2), "zero alone"
    assert measure_groups(seen, None).below_eps is measure_groups(seen, 0.0).below_eps is None


def test_attribution_ranks_by_what_goes() -> None:
    before = {"y": output(4.0, 1.0)}
    after = {"a": {"y": output(1.0, 1.0)}, "b": {"y": output(0.0, 1.0)}, "c": {"y": output(9.0, 1.0)}}
    rows = rank_attribution(before, after, "y")
    assert [row.layer for row in rows] == ["b", "a", "c"]
    assert [row.removed for row in rows] == pytest.approx([1.0, 0.5, -0.5])
    assert rank_attribution({"y": output(0.0, 1.0)}, after, "y") == ()
