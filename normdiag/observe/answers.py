"""Which output holds the scores of classes, what they answer, and how right that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.observe.gap import are_probabilities, is_floating
from normdiag.records import Marks

Array = NDArray[Any]
Floats = NDArray[np.float64]


def compared_output(outputs: Mapping[str, Array]) -> str | None:
    """The scores of classes if there are any, else the first output that is no label."""
    floating = [name for name, value in outputs.items() if is_floating(value)]
    return next((name for name in floating if are_scores(outputs[name])), floating[0] if floating else None)


def are_scores(output: Array) -> bool:
    """Whether an output has a row of scores for each sample: (N, K) with K > 1."""
    return output.ndim == 2 and output.shape[1] > 1


def answers_to(scores: Floats) -> Array:
    """The answer to each sample of (N, K); -1 where the scores are not numbers, which is never right."""
    return np.where(np.isnan(scores).any(1), -1, np.nan_to_num(scores).argmax(1))


def labels_fit(labels: Array | None, classes: int) -> bool:
    """Whether there are labels, and each is the index of a class."""
    return labels is not None and bool(np.all((labels >= 0) & (labels < classes)))


def marked(before: Mapping[str, Array], after: Mapping[str, Array], labels: Array | None) -> dict[str, Marks]:
    """The answers of each output that holds scores of classes, before and after, held against labels that fit it."""
    both = {name: (scores, after[name]) for name, scores in before.items() if name in after and are_scores(scores)}
    return {
        name: Marks.of(answers_to(old), answers_to(new), labels, old.shape[1])
        for name, (old, new) in both.items()
        if labels is not None and is_floating(old) and len(labels) == len(old) and labels_fit(labels, old.shape[1])
    }


def cross_entropy(scores: Floats, labels: Array) -> Floats:
    """-log of the probability of the right class, in nats, of each row of scores (N, K): float64 (N,).

    Scores are log-odds (of which logarithms of probabilities are a case), or probabilities where every row already is a
    distribution. NaN where a row holds what is not finite.
    """
    y = np.asarray(scores, np.float64)
    right = y[np.arange(len(y)), labels]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if are_probabilities(y):
            return np.asarray(np.log(y.sum(1)) - np.log(right))
        highest = y.max(1, keepdims=True)
        return np.asarray(np.log(np.exp(y - highest).sum(1)) + highest[:, 0] - right)
