"""Cross-entropy against torch in float64, on log-odds and on probabilities."""

from __future__ import annotations

import numpy as np
import torch

from normdiag.observe.answers import answers_to, cross_entropy, labels_fit, marked


def test_cross_entropy_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    scores, labels = 30.0 * rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    odds, right = torch.from_numpy(scores), torch.from_numpy(labels)
    expected = torch.nn.functional.cross_entropy(odds, right, reduction="none").numpy()
    np.testing.assert_allclose(cross_entropy(scores, labels), expected, rtol=1e-12, atol=1e-12)
    for same in (odds.softmax(1), odds.log_softmax(1)):
        np.testing.assert_allclose(cross_entropy(same.numpy(), labels), expected, rtol=1e-9, atol=1e-9)


def test_what_is_not_finite_has_no_loss_and_is_never_right() -> None:
    scores = np.array([[1e300, 0.0], [np.nan, 0.0], [np.inf, 0.0]])
    assert cross_entropy(scores, np.array([0, 1, 1])).tolist()[0] == 0.0
    assert np.isnan(cross_entropy(scores, np.array([0, 1, 1]))[1:]).all()
    assert answers_to(scores).tolist() == [0, -1, 0]


def test_labels_are_indexes_of_classes() -> None:
    assert labels_fit(np.array([0, 2]), 3)
    assert not any(labels_fit(each, 3) for each in (None, np.array([0, 3]), np.array([-1])))


def test_answers_are_held_against_labels_that_fit_the_output() -> None:
    before = {"y": np.eye(3)[[0, 0, 1, 2]], "boxes": np.zeros((4, 2, 2))}
    after = {"y": np.eye(3)[[0, 1, 0, 2]], "boxes": np.zeros((4, 2, 2))}
    found = marked(before, after, np.array([0, 1, 1, 0]))
    assert set(found) == {"y"}
    assert found["y"].counts.tolist() == [[1, 1], [1, 1]] and found["y"].labels.tolist() == [2, 2, 0]
    assert (found["y"] + found["y"]).counts.sum() == 8
    assert marked(before, after, np.array([0, 1, 1, 3])) == {} and marked(before, after, None) == {}
