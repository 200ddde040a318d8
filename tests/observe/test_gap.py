import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normdiag.observe import gap
from normdiag.observe.gap import compare_outputs, jensen_shannon, output_sums

RNG = np.random.default_rng(0)


def test_sums_of_an_image_output_are_plain_squares():
    y, changed = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
    sums = output_sums(y, changed)
    assert sums.difference_square == pytest.approx(((changed - y) ** 2).sum(), rel=1e-12)
    assert sums.reference_square == pytest.approx((y**2).sum(), rel=1e-12)
    assert sums.rows == 0


def test_squares_are_taken_in_double_precision():
    y = np.full((3, 2, 2), 60000, np.float16)
    assert output_sums(y, y - np.float16(32)).reference_square == pytest.approx(12 * 60000.0**2, rel=1e-3)


def test_large_outputs_are_summed_in_pieces(monkeypatch):
    monkeypatch.setattr(gap, "CHUNK", 7)
    y, changed = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(4, 5, 2))
    assert output_sums(y, changed).difference_square == pytest.approx(((changed - y) ** 2).sum(), rel=1e-12)


def test_top1_counts_the_rows_whose_largest_entry_moves():
    y = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0]])
    sums = output_sums(y, np.array([[2.5, 2.0, 0.0], [3.0, 1.5, 0.0]]))
    assert (sums.rows, sums.disagreements) == (2, 1)


def test_divergence_of_opposite_certainties_is_ln2_for_logits_and_for_probabilities():
    logits = output_sums(np.array([[1000.0, 0.0]]), np.array([[0.0, 1000.0]]))
    probabilities = output_sums(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert logits.divergence == pytest.approx(np.log(2))
    assert probabilities.divergence == pytest.approx(np.log(2))


def test_a_single_column_has_no_classes():
    assert output_sums(np.ones((4, 1)), np.zeros((4, 1))).rows == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_every_floating_dtype_counts_as_scores(dtype):
    assert output_sums(np.eye(3, dtype=dtype), np.eye(3, dtype=dtype)).rows == 3


def test_not_a_number_is_not_hidden():
    assert np.isnan(output_sums(np.array([[np.nan, 1.0]]), np.array([[0.0, 1.0]])).divergence)


def test_labels_are_left_out_beside_scores_and_kept_alone():
    scores, labels = RNG.normal(size=(3, 4)), np.arange(3)
    assert set(compare_outputs({"s": scores, "l": labels}, {"s": scores, "l": labels + 1})) == {"s"}
    assert compare_outputs({"l": labels}, {"l": labels + 1})["l"].difference_square == 3


def test_outputs_of_different_shape_or_without_numbers_are_left_out():
    text = np.array(["a", "b"], dtype=object)
    a = {"boxes": np.ones((5, 4)), "y": np.ones((2, 2)), "text": text}
    b = {"boxes": np.ones((6, 4)), "y": np.ones((2, 2)), "text": text}
    assert set(compare_outputs(a, b)) == {"y"}


rows = hnp.arrays(np.float64, (3, 5), elements=st.floats(0, 1)).map(lambda a: (a + 1e-3) / (a + 1e-3).sum(1)[:, None])


@given(rows, rows)
def test_divergence_is_symmetric_bounded_and_zero_for_equals(p, q):
    divergence = jensen_shannon(p, q)
    assert (divergence >= 0).all()
    assert (divergence <= np.log(2) + 1e-12).all()
    np.testing.assert_allclose(divergence, jensen_shannon(q, p), atol=1e-15)
    np.testing.assert_allclose(jensen_shannon(p, p), 0, atol=1e-15)
