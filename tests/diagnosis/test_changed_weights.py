"""Weights that changed, told from a gamma that is wrong, from weights that were lost and from statistics mixed up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.diagnosis.evidence.answer_change import AnswerChange
from normdiag.diagnosis.evidence.origin import along_weights
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.records import Gap, Report
from tests.diagnosis.networks import CHANNELS, Truth, changed, first, network, report

RNG = np.random.default_rng(21)
START = RNG.bit_generator.state
NARROW, SQUARE = (np.random.default_rng(7).normal(size=(CHANNELS, count)) for count in (5, CHANNELS))
LAST = 5


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whatever ran before."""
    RNG.bit_generator.state = START


def shifted(each: Truth, shift: NDArray[np.float64], spread: float = 0.05) -> Truth:
    noise = np.exp(spread * RNG.normal(size=CHANNELS))
    return replace(each, mean=each.mean + np.sqrt(each.var) * shift, var=each.var * noise)


def fed_by_few(each: Truth) -> Truth:
    return replace(each, response=NARROW)


def fed_by_as_many(each: Truth) -> Truth:
    """With means that the weights make of those at their inputs."""
    mean = 0.15 * SQUARE @ np.random.default_rng(4).normal(size=CHANNELS)
    return replace(each, mean=mean, stored_mean=mean, response=SQUARE)


def a_little(each: Truth) -> Truth:
    return shifted(each, 0.08 * RNG.normal(size=CHANNELS))


def along(each: Truth) -> Truth:
    """What another gamma before the weights does to the means after them."""
    return shifted(each, 0.15 * SQUARE @ np.random.default_rng(5).normal(size=CHANNELS) / np.sqrt(each.var))


def by_itself(each: Truth) -> Truth:
    return shifted(each, 0.3 * RNG.normal(size=CHANNELS))


def test_weights_that_changed_in_layers_before_are_no_wrong_gamma() -> None:
    layers = changed(changed(network(), fed_by_few, 1, 2, 3, 4), fed_by_as_many, LAST)
    of_gamma = report(changed(layers, along, LAST))
    of_weights = report(changed(changed(layers, along, LAST), a_little, 1, 2, 3, 4))
    assert first(of_gamma).cause == "wrong_affine"
    assert (first(of_weights).cause, first(of_weights).remedy.action) == ("stale_statistics", "recalibrate")


def test_means_that_move_against_the_weights_are_no_matter_of_the_gamma_before_them() -> None:
    plain = changed(network(), by_itself, LAST)
    known = changed(changed(network(), fed_by_as_many, LAST), by_itself, LAST)
    assert (first(report(plain)).cause, first(report(known)).cause) == ("wrong_affine", "stale_statistics")


def test_means_that_did_not_move_go_in_no_direction() -> None:
    def dampened(each: Truth) -> Truth:
        return replace(each, mean=each.mean + 0.02 * np.sqrt(each.var) * RNG.normal(size=CHANNELS), var=0.5 * each.var)

    row = Seen(report(changed(changed(network(), fed_by_as_many, 3), dampened, 3))).rows[3]
    exact = replace(row, drift=replace(row.drift, se_z=1e-9 * row.drift.se_z))
    assert along_weights(exact) is None
    further = replace(exact.drift, z=10.0 * exact.drift.z)
    assert along_weights(replace(exact, drift=further)) is not None


def mixed_up(each: Truth) -> Truth:
    order = np.roll(np.arange(CHANNELS), 7)
    return replace(each, stored_mean=each.mean[order], stored_var=each.var[order])


def test_statistics_of_other_channels_are_foreign_however_much_further_off_one_layer_is() -> None:
    def further(each: Truth) -> Truth:
        return replace(each, mean=9.0 * each.mean)

    found = first(report(changed(changed(network(), further, LAST), mixed_up)))
    assert (found.cause, len(found.layers)) == ("foreign_statistics", 6)


def weaker(each: Truth) -> Truth:
    """What another first layer yields: other means, and deviations that are smaller in nearly all channels."""
    return replace(
        each, mean=RNG.normal(0, 0.6, CHANNELS), var=np.exp(-4.0 + 0.3 * RNG.normal(size=CHANNELS)), response=NARROW
    )


def test_a_first_layer_that_was_lost_is_named_where_no_input_does_that() -> None:
    def other(each: Truth) -> Truth:
        return replace(each, var=each.var * np.exp(0.3 * RNG.normal(size=CHANNELS)))

    layers = changed(changed(network(), weaker, 0), other, 1, 2, 3)
    found = first(report(layers, decided=0.02))
    assert (found.cause, found.layers[0], found.remedy.action) == ("foreign_statistics", "bn0", "reload_weights")
    unknown = [replace(each, response=None) for each in layers]
    assert first(report(unknown, decided=0.02)).cause != "foreign_statistics"


def test_answers_of_few_classes_are_not_given_back() -> None:
    def with_classes(answered: float) -> Report:
        found = report(changed(network(), by_itself), answers=0.3, decided=0.5)
        assert found.recalibration is not None
        gap = Gap("y", 0.5, 0.3, 0.1, 32, 256, 0.9, 0.1, classes=10, answered=2.0)
        measured = replace(found.recalibration, answered=answered)
        return diagnosed(replace(found, recalibration=measured, gap=gap, diagnosis=()), CAUSES)

    assert AnswerChange(with_classes(9.9)).given_back and not AnswerChange(with_classes(4.0)).given_back


def weakened(each: Truth) -> Truth:
    """Values less widely spread and hardly another mean, as other data has them, and fewer weights."""
    return replace(each, var=0.7 * each.var * np.exp(0.5 * RNG.normal(size=CHANNELS)), response=SQUARE)


def rewritten(found: Report, share: float) -> Report:
    """The report, concluded anew, of weights of which this share is 0."""
    layers = tuple(
        each if each.response is None else replace(each, response=replace(each.response, rewritten=share))
        for each in found.layers
    )
    return diagnosed(replace(found, layers=layers, diagnosis=()), CAUSES)


def test_weights_that_were_rewritten_are_to_blame_before_the_data_is() -> None:
    found = report(changed(network(), weakened), decided=0.1)
    assert first(found).cause == "domain_shift" == first(rewritten(found, 0.1)).cause
    told = first(rewritten(found, 0.5))
    assert (told.cause, told.remedy.action) == ("stale_statistics", "recalibrate") and "50%" in told.evidence


def test_rewritten_weights_do_not_excuse_an_input_that_the_first_layer_alone_sees() -> None:
    def other(each: Truth) -> Truth:
        return replace(each, var=each.var * np.exp(1.2 + 0.9 * RNG.normal(size=CHANNELS)), response=SQUARE)

    found = rewritten(report(changed(network(), other, 0)), 0.9)
    assert first(found).cause == "input_preparation"
