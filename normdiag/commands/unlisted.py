"""Preparations that nobody lists, and when they are named: what clearly fits better than all that people use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from normdiag.commands.tried import Tried
from normdiag.data.candidates import PreparationCandidate, reshaped_candidate
from normdiag.metrics.preparation import clearly_better, takes_most_away

# So many of those with the least drift are tried on images that are cut, resized or read otherwise, too.
BASES = 2

Attempt = Callable[[PreparationCandidate], Tried]


def fitted_ones(attempt: Attempt, trials: Sequence[Tried], found: Iterable[PreparationCandidate]) -> list[Tried]:
    """What was fitted to the first norm layer, where it fits clearly better than the rest, or says that none is right.

    Having a number for each channel to choose it always fits a little better than what is right. Where one is clearly
    better, so is each order of the colours that may be right. What normalizes each image by itself adapts to images as
    much, and does not stand against it; where that comes nearest, it has to be better than one scale for all images.
    Where it takes away most of what the nearest leaves, that one has not the right scale.
    """
    tried = [attempt(each) for each in found]
    others = [each.fit for each in trials if each.candidate.numbers_from == "preset"]
    nearest = min(trials, key=lambda each: each.drift)
    if nearest.candidate.adapts or any(takes_most_away(each.fit, nearest.fit) for each in tried):
        return tried
    return tried if any(clearly_better(each.fit, others) for each in tried) else []


def reshaped_ones(
    attempt: Attempt, trials: Sequence[Tried], changes: Callable[[PreparationCandidate], Mapping[str, str]]
) -> list[Tried]:
    """All preparations of images that were cut, resized or read otherwise, in the way that clearly fits best; or none.

    `changes` are these ways before a preparation, in words by key of a recipe. Training with crops makes images that
    are cut or coarser drift a little less than what is right.
    """
    found = [
        (key, words, attempt(reshaped_candidate(base.candidate, key, words)))
        for base in sorted(trials, key=lambda each: each.drift)[:BASES]
        for key, words in changes(base.candidate).items()
    ]
    if not found:
        return []
    key, words, best = min(found, key=lambda each: each[2].drift)
    if not clearly_better(best.fit, [each.fit for each in trials]):
        return []
    again = [reshaped_candidate(each.candidate, key, words) for each in trials if _goes_with(each.candidate, key)]
    return [best, *(attempt(each) for each in again if each.option != best.candidate.option)]


def _goes_with(candidate: PreparationCandidate, key: str) -> bool:
    """Whether a recipe can say both."""
    return "grey" not in key or "order" not in candidate.option
