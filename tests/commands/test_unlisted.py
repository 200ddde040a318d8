"""Which unlisted preparations are taken up, on made-up fits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normdiag.commands.tried import Tried
from normdiag.commands.unlisted import fitted_ones, reshaped_ones
from normdiag.data.candidates import PreparationCandidate, shape_changes
from normdiag.metrics.preparation import Figure, Fit
from normdiag.records.channel_sums import PARTS

NOISE = 0.01 * np.random.default_rng(0).normal(size=PARTS)


def figure(mean: float) -> Figure:
    parts = mean + NOISE - NOISE.mean()
    return Figure(mean, (parts.sum() - parts) / (PARTS - 1), np.full(PARTS, 10))


class Attempts:
    """Runs no model: each option has the drift that it is given here, or 1."""

    def __init__(self, drifts: Mapping[str, float]) -> None:
        self.drifts, self.tried = drifts, list[str]()

    def __call__(self, candidate: PreparationCandidate) -> Tried:
        self.tried.append(candidate.option)
        return Tried(candidate, Fit(figure(self.drifts.get(candidate.option, 1.0)), None), ("norm",))


def candidate(option: str, listed: bool = True) -> PreparationCandidate:
    return PreparationCandidate(option, option, listed, "images" if option == "per-image" else "preset")


def options(found: list[Tried]) -> list[str]:
    return [each.candidate.option for each in found]


CHANGES = {"via=8": "coarser", "order=grey": "grey"}


def reshaped(drifts: Mapping[str, float], listed: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The options that are taken up, and those that were tried."""
    attempt = Attempts(drifts)
    trials = [attempt(candidate(each)) for each in listed]
    attempt.tried.clear()
    return options(reshaped_ones(attempt, trials, lambda _: CHANGES)), attempt.tried


def test_the_clearly_best_change_is_tried_with_all_preparations() -> None:
    drifts = {"unit": 0.6, "signed": 0.7, "raw": 9.0, "unit,via=8": 0.1, "signed,via=8": 0.3}
    found, _ = reshaped(drifts, ("raw", "signed", "unit"))
    assert found[0] == "unit,via=8" and sorted(found) == ["raw,via=8", "signed,via=8", "unit,via=8"]


def test_a_change_that_fits_a_little_better_is_not_taken_up() -> None:
    found, tried = reshaped({"unit": 0.2, "signed": 0.3, "unit,via=8": 0.1}, ("unit", "signed", "raw"))
    assert found == []
    assert sorted(tried) == ["signed,order=grey", "signed,via=8", "unit,order=grey", "unit,via=8"]  # the two with least


def test_without_changes_nothing_is_tried() -> None:
    attempt = Attempts({})
    assert reshaped_ones(attempt, [attempt(candidate("unit"))], lambda _: {}) == []
    assert attempt.tried == ["unit"]


def test_grey_is_not_combined_with_an_order_of_colours() -> None:
    found, _ = reshaped({"unit": 0.6, "unit,order=grey": 0.1}, ("unit", "signed", "raw", "raw,order=bgr"))
    assert found == ["unit,order=grey", "signed,order=grey", "raw,order=grey"]


def test_a_drift_that_is_no_number_is_never_a_base() -> None:
    _, tried = reshaped({"unit": float("nan"), "signed": 0.3, "raw": 0.4}, ("unit", "signed", "raw"))
    assert not any(each.startswith("unit") for each in tried)


def test_fitted_ones_are_taken_up_in_both_orders_where_one_is_clearly_better() -> None:
    attempt = Attempts({"unit": 0.6, "scale=1,std=2": 0.3, "scale=1,std=2,order=bgr": 0.1})
    trials = [attempt(candidate("unit"))]
    fitted = [candidate("scale=1,std=2", False), candidate("scale=1,std=2,order=bgr", False)]
    assert options(fitted_ones(attempt, trials, fitted)) == ["scale=1,std=2", "scale=1,std=2,order=bgr"]
    near = Attempts({"unit": 0.2, "scale=1,std=2": 0.12})
    assert fitted_ones(near, [near(candidate("unit"))], fitted) == []
    nearer = Attempts({"unit": 0.2, "scale=1,std=2": 0.08})  # takes most of it away
    assert len(fitted_ones(nearer, [nearer(candidate("unit"))], fitted)) == 2


def test_each_image_by_itself_does_not_stand_against_what_is_fitted() -> None:
    fitted = [candidate("scale=1,mean=3", False)]
    attempt = Attempts({"unit": 0.6, "per-image": 0.3, "scale=1,mean=3": 0.15})
    trials = [attempt(candidate("unit")), attempt(candidate("per-image"))]
    assert options(fitted_ones(attempt, trials, fitted)) == ["scale=1,mean=3"]


def test_where_each_image_by_itself_comes_nearest_one_scale_for_all_is_held_against_it() -> None:
    fitted = [candidate("scale=1,mean=3", False)]
    for per_image, expected in ((0.1, ["scale=1,mean=3"]), (0.25, [])):
        attempt = Attempts({"unit": 0.2, "per-image": per_image, "scale=1,mean=3": 0.15})
        assert options(fitted_ones(attempt, [attempt(candidate(each)) for each in ("unit", "per-image")], fitted)) == (
            expected
        )


def test_changes_are_for_images_and_those_of_colours_for_colours() -> None:
    base = candidate("unit")
    keys = set(shape_changes(base, np.zeros((2, 3, 32, 24))))
    assert keys == {"centre=0.875", "centre=0.75", "via=6", "via=12", "via=18", "memory=swapped", "order=grey"}
    assert set(shape_changes(base, np.zeros((2, 1, 4, 4)))) == {"centre=0.875", "centre=0.75"}
    assert "order=grey" not in shape_changes(candidate("unit,order=bgr"), np.zeros((2, 3, 8, 8)))
    assert shape_changes(base, np.zeros((2, 20))) == {}
