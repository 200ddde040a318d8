"""Evidence adds up: any split of the data, in any order, gives the sums of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normdiag.records import ActivationSums, ChannelSums, Evidence, GroupSums, LayerEvidence, OutputSums
from normdiag.records.group_sums import VARIANCE_BINS, VarianceCounts

tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 20), st.integers(1, 4)),
    elements=st.floats(-1e3, 1e3, allow_subnormal=False),
)


def fields(sums: ChannelSums) -> list[np.ndarray]:
    return [sums.m, sums.q, *sums.second]


@given(tables, st.data())
def test_sums_of_any_split_equal_the_whole(m: np.ndarray, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(m) - 1))
    q = m * m + 1.0
    whole = ChannelSums.of(m, q)
    parts = ChannelSums.of(m[:cut], q[:cut]) + ChannelSums.of(m[cut:], q[cut:])
    assert parts.count == whole.count == len(m)
    for a, b in zip(fields(parts), fields(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-6)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_nothing(m: np.ndarray, random: object) -> None:
    order = np.array(random.sample(range(len(m)), len(m)))  # type: ignore[attr-defined]
    q = m * m
    for a, b in zip(fields(ChannelSums.of(m, q)), fields(ChannelSums.of(m[order], q[order])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-6)


@given(hnp.arrays(np.float64, st.integers(2, 50), elements=st.floats(0, 1e6)), st.data())
def test_group_sums_of_a_split_equal_the_whole(variances: np.ndarray, data: st.DataObject) -> None:
    def sums(part: np.ndarray) -> GroupSums:
        return GroupSums.of(part, np.ones(3), group_size=4, channel_count=len(part), abs_max=float(part.max()))

    cut = data.draw(st.integers(1, len(variances) - 1))
    whole, parts = sums(variances), sums(variances[:cut]) + sums(variances[cut:])
    assert parts.variance_min == whole.variance_min == variances.min()
    assert parts.abs_max == variances.max()
    assert parts.channel_counts.sum() == whole.channel_counts.sum()
    assert parts.variances.first == whole.variances.first
    np.testing.assert_array_equal(parts.variances.counts.sum(0), whole.variances.counts.sum(0))


def test_variances_are_counted_on_a_log_scale_with_zero_in_the_lowest_bin() -> None:
    seen = VarianceCounts.of(np.array([0.0, 1.0, 1.0, 1e30, np.nan]), np.array([0, 1, 1, 2, 3]))
    assert seen.first == 0
    assert seen.counts.shape[1] < VARIANCE_BINS
    assert seen.counts.sum(1).tolist() == [1, 2, 1, 1, *[0] * 12]
    assert seen.counts[:, 0].tolist() == [1, 0, 0, 1, *[0] * 12]
    assert seen.counts.max() == 2


def test_activations_with_other_numbers_of_units_are_pooled_not_mixed_up() -> None:
    a = ActivationSums.of("relu", 10, np.array([[1, 2, 3]]), np.array([5.0]))
    b = ActivationSums.of("relu", 10, np.array([[4, 5]]), np.array([7.0]))
    both = a + b
    assert both.elements * len(both.saturated) == 50
    assert both.saturated.tolist() == [15]
    assert both.derivative_square == 12.0


def test_evidence_merges_by_name_and_keeps_the_order() -> None:
    scores = OutputSums.of(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([True, False]), np.array([0.5, 0.0]))
    a = Evidence(2, 1, 2, 2, {"x": LayerEvidence(1)}, {}, {"out": scores})
    b = Evidence(3, 1, 3, 0, {"x": LayerEvidence(2), "y": LayerEvidence(1)}, {}, {"out": scores})
    both = a + b
    assert (both.samples, both.batches, both.batch_size, both.gap_samples) == (5, 2, 3, 2)
    assert list(both.layers) == ["x", "y"]
    assert both.layers["x"].calls == 3
    out = both.outputs["out"]
    assert (out.difference_square, out.reference_square) == (6.0, 14.0)
    assert (out.rows, out.disagreements, out.divergence) == (4, 2, 1.0)
    assert list(a.layers) == ["x"], "adding must not change what is added"


def test_one_sided_sums_survive_the_merge() -> None:
    sums = ChannelSums.of(np.ones((2, 1)), np.ones((2, 1)))
    assert (LayerEvidence(1, deployed=sums) + LayerEvidence(1)).deployed is sums
    assert (LayerEvidence(1) + LayerEvidence(1, own=sums)).own is sums
    both = LayerEvidence(1, own=sums) + LayerEvidence(1, own=sums)
    assert both.own is not None
    assert both.own.count == 4


@pytest.mark.parametrize("value", [1e-40, 1e-5, 1.0, 3e38])
def test_bins_hold_every_float32_variance(value: float) -> None:
    assert 0 < VarianceCounts.of(np.array([value]), np.array([0])).first < VARIANCE_BINS - 1
