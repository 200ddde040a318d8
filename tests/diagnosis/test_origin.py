"""Where moved means come from: another input moves them along the weights, another weight anywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.diagnosis.evidence.origin import along_weights, reach
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.records import Gap
from tests.diagnosis.networks import CHANNELS, Truth, changed, first, network, report

INPUTS = 5
RNG = np.random.default_rng(11)
RESPONSE = RNG.normal(size=(CHANNELS, INPUTS))


def fed_by_few(each: Truth) -> Truth:
    return replace(each, response=RESPONSE)


def moved(each: Truth, shift: NDArray[np.float64], spread: float) -> Truth:
    """Means moved, and deviations by something of their own in each channel, too."""
    noise = np.exp(spread * RNG.normal(size=CHANNELS))
    return replace(each, mean=each.mean + np.sqrt(each.var) * shift, var=each.var * noise)


def by_another_input(each: Truth) -> Truth:
    along = RESPONSE @ RNG.normal(size=INPUTS)
    return moved(each, 0.3 * along / np.sqrt(np.mean(along**2) * each.var), 0.2)


def by_other_weights(each: Truth) -> Truth:
    return moved(each, 0.3 * RNG.normal(size=CHANNELS), 0.2)


def test_an_input_moves_means_along_the_weights_and_nothing_else_does() -> None:
    layers = changed(network(), fed_by_few, 0)
    fed, other = (Seen(report(changed(layers, change, 0))).rows[0] for change in (by_another_input, by_other_weights))
    of_input, of_weights = reach(fed), reach(other)
    assert of_input is not None and of_input.by_input and not of_input.mismatch
    assert of_weights is not None and of_weights.mismatch and not of_weights.by_input
    assert of_weights.unreached == pytest.approx(0.3**2, rel=0.5)


def test_nothing_is_told_by_means_that_hardly_moved_or_by_an_input_as_wide_as_the_output() -> None:
    assert reach(Seen(report(changed(network(), fed_by_few))).rows[0]) is None
    wide = changed(network(), lambda each: replace(each, response=RNG.normal(size=(CHANNELS, CHANNELS - 1))), 0)
    assert reach(Seen(report(changed(wide, by_other_weights, 0))).rows[0]) is None


def test_means_that_no_input_can_move_so_rule_out_the_data() -> None:
    layers = changed(network(), by_other_weights, 0)
    assert first(report(layers)).cause in ("input_preparation", "domain_shift"), "the first layer alone says no more"
    assert first(report(changed(layers, fed_by_few, 0))).cause not in ("input_preparation", "domain_shift")


def test_means_that_an_input_moves_rule_out_other_weights() -> None:
    layers = changed(changed(network(), by_another_input, 0), by_other_weights, 1, 2, 3, 4, 5)
    assert first(report(layers)).cause == "stale_statistics"
    found = first(report(changed(layers, fed_by_few, 0)))
    assert found.cause in ("input_preparation", "domain_shift") and found.remedy.action == "check_training_data"


def test_a_later_layer_is_at_fault_by_itself_where_nothing_before_it_moves_its_means_so() -> None:
    def begins(change: object) -> str:
        layers = changed(changed(network(), fed_by_few, 3), change, 3)  # type: ignore[arg-type]
        return first(report(changed(layers, by_a_little, 4, 5))).layers[0]

    assert (begins(by_another_input), begins(by_other_weights)) == ("bn2", "bn3")


def by_a_little(each: Truth) -> Truth:
    return moved(each, 0.1 * RNG.normal(size=CHANNELS), 0.1)


def test_what_less_than_one_sample_would_scatter_by_is_no_chance() -> None:
    def scattered(each: Truth, size: float) -> Truth:
        means, spread = (size * RNG.normal(size=CHANNELS) for _ in range(2))
        return replace(
            each, stored_mean=each.mean + 0.08 * np.sqrt(each.var) * means, stored_var=each.var * np.exp(0.2 * spread)
        )

    of_some, of_none = (report(changed(network(), lambda each, n=size: scattered(each, n))) for size in (1.0, 3.5))
    assert all((row.samples or 0.0) < 0.8 for row in Seen(of_none).rows)
    assert first(of_some).cause == "few_samples" != first(of_none).cause


def test_statistics_with_which_more_classes_are_answered_are_the_better_ones() -> None:
    of = report(changed(network(), by_other_weights))
    gap = Gap("y", 0.5, 0.3, 0.1, 32, 256, 0.9, 0.1, classes=10, answered=9.0)

    def severity(own: float) -> str:
        assert of.recalibration is not None
        seen = replace(of, gap=gap, recalibration=replace(of.recalibration, answered=own), diagnosis=())
        return first(diagnosed(seen, CAUSES)).severity

    assert (severity(9.0), severity(5.0)) == ("error", "warning")


SQUARE = np.random.default_rng(3).normal(size=(CHANNELS, CHANNELS))


def dampened_a_little(each: Truth) -> Truth:
    return replace(each, var=0.8 * each.var)


def fed_by_as_many(each: Truth) -> Truth:
    """With means that the weights make of those at their inputs."""
    mean = 0.15 * SQUARE @ np.random.default_rng(4).normal(size=CHANNELS)
    return replace(each, mean=mean, stored_mean=mean, response=SQUARE)


def by_another_gamma(each: Truth) -> Truth:
    """What other gammas and betas before as many weights do to the means after them."""
    along = SQUARE @ np.random.default_rng(5).normal(size=CHANNELS)
    return moved(each, 0.15 * along / np.sqrt(each.var), 0.1)


def by_itself(each: Truth) -> Truth:
    return moved(each, 0.9 * RNG.normal(size=CHANNELS), 0.1)


def test_means_that_go_along_the_weights_blame_what_comes_before_them() -> None:
    layers = changed(network(), fed_by_as_many, 3)
    fed, alone = (report(changed(layers, change, 3)) for change in (by_another_gamma, by_itself))
    assert (along_weights(Seen(fed).rows[3]) or 0.0) > 5.0 > -5.0 > (along_weights(Seen(alone).rows[3]) or 0.0)
    assert (first(fed).cause, first(fed).layers[0]) == ("wrong_affine", "bn2")
    assert (first(alone).cause, first(alone).layers[0]) == ("foreign_statistics", "bn3")


def test_a_first_layer_that_misses_its_augmentation_hides_no_layer_that_is_far_off() -> None:
    plain = changed(network(), lambda each: replace(each, mean=each.mean + 0.25 * np.sqrt(each.var)), 0)
    found = report(changed(changed(plain, fed_by_as_many, 3), by_another_gamma, 3))
    assert (first(found).cause, first(found).layers[0]) == ("wrong_affine", "bn2")


def test_statistics_of_another_layer_do_not_go_along_the_weights_however_small_they_are() -> None:
    def of_another(each: Truth) -> Truth:
        return replace(each, stored_mean=0.2 * np.random.default_rng(6).normal(size=CHANNELS))

    layers = changed(changed(network(), fed_by_as_many, 3), of_another, 3)
    found = report(layers)
    assert (along_weights(Seen(found).rows[3]) or 0.0) < 5.0 and first(found).cause == "foreign_statistics"


def test_layers_that_move_against_their_weights_rule_out_the_data_together() -> None:
    """No layer is narrower at its input, so that none of them could say it by what it cannot reach."""
    layers = changed(network(), fed_by_as_many, 1, 2, 3)
    of_data, of_weights = (
        report(changed(changed(layers, dampened_a_little), change, 1, 2, 3)) for change in (by_another_gamma, by_itself)
    )
    assert Seen(of_weights).contradicted and not Seen(of_data).contradicted
    assert not Seen(of_weights).from_input
    kernel = [replace(each, response=None) for each in changed(layers, by_itself, 1, 2, 3)]
    assert not Seen(report(kernel)).contradicted


def test_what_the_border_of_small_images_does_is_not_held_against_the_weights() -> None:
    row = Seen(report(changed(changed(network(), fed_by_as_many, 3), by_itself, 3))).rows[3]
    assert row.metrics.response is not None
    at_border = replace(row.metrics, response=replace(row.metrics.response, border=0.5))
    assert along_weights(row) is not None and along_weights(replace(row, metrics=at_border)) is None
