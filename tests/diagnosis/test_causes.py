"""Each cause: made-up networks that it explains, what it names and what it recommends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.records import Diagnosis, Finding, Gap, OutputChange, Report
from normdiag.records.preparation import Preparations, RankedPreparation
from normdiag.rules import RULES, with_findings
from tests.diagnosis.networks import (
    CHANNELS,
    RULES_HERE,
    Change,
    Truth,
    changed,
    first,
    network,
    report,
    with_training_data,
)

RNG = np.random.default_rng(3)
START = RNG.bit_generator.state
ORDER = np.roll(np.arange(CHANNELS), 7)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whatever ran before."""
    RNG.bit_generator.state = START


def reset(each: Truth) -> Truth:
    return replace(each, stored_mean=np.zeros(CHANNELS), stored_var=np.ones(CHANNELS))


def mixed(each: Truth) -> Truth:
    return replace(each, stored_mean=0.6 * each.mean, stored_var=0.6 * each.var + 0.4)


def rooted(each: Truth) -> Truth:
    return replace(each, stored_var=np.sqrt(each.var))


def scaled(each: Truth) -> Truth:
    return replace(each, stored_var=4.0 * each.var)


def negated(each: Truth) -> Truth:
    return replace(each, stored_mean=-each.mean)


def permuted(each: Truth) -> Truth:
    return replace(each, stored_mean=each.mean[ORDER], stored_var=each.var[ORDER])


def moved(each: Truth) -> Truth:
    """Weights that changed: means and deviations off by something of their own in each channel."""
    means = each.mean + 0.5 * np.sqrt(each.var) * RNG.normal(size=CHANNELS)
    return replace(each, stored_mean=means, stored_var=each.var * np.exp(0.2 * RNG.normal(size=CHANNELS)))


def of_few_samples(each: Truth) -> Truth:
    """Deviations off by chance; means less, since the norms before have taken the samples' shift away."""
    means = each.mean + 0.08 * np.sqrt(each.var) * RNG.normal(size=CHANNELS)
    return replace(each, stored_mean=means, stored_var=each.var * np.exp(0.2 * RNG.normal(size=CHANNELS)))


def louder(each: Truth) -> Truth:
    return replace(each, mean=255 * each.mean, var=255**2 * each.var)


def of_one_class(each: Truth) -> Truth:
    """Images that vary less than those of all classes, about the means of their own class."""
    return dampened(replace(each, mean=each.mean + 0.2 * np.sqrt(each.var) * RNG.normal(size=CHANNELS)))


def dampened(each: Truth) -> Truth:
    """What features answer to data that they are not made for: less, and by something of its own in each channel."""
    return replace(each, var=each.var * np.exp(-0.4 + 0.15 * RNG.normal(size=CHANNELS)))


def quieter(each: Truth) -> Truth:
    return replace(each, var=each.var * np.exp(-1.6 + 0.4 * RNG.normal(size=CHANNELS)))


@pytest.mark.parametrize(
    ("cause", "action", "change", "where", "layers"),
    [
        ("never_updated", "recalibrate", reset, (3,), ("bn3",)),
        ("never_updated", "recalibrate", reset, (), None),
        ("not_warmed_up", "recalibrate", mixed, (), None),
        ("not_warmed_up", "recalibrate", mixed, (2,), ("bn2",)),
        ("wrong_convention", "recalibrate", rooted, (), None),
        ("wrong_convention", "recalibrate", rooted, (4,), ("bn4",)),
        ("wrong_convention", "recalibrate", scaled, (), None),
        ("wrong_convention", "recalibrate", negated, (2, 3, 4), None),
        ("foreign_statistics", "reload_weights", permuted, (3,), ("bn3",)),
        ("foreign_statistics", "reload_weights", permuted, (2, 3), ("bn2", "bn3")),
        ("foreign_statistics", "reload_weights", permuted, (), None),
        ("stale_statistics", "recalibrate", moved, (), None),
        ("few_samples", "recalibrate", of_few_samples, (), None),
        ("input_preparation", "fix_input", louder, (0,), ("bn0",)),
    ],
)
def test_a_fault_is_put_down_to_its_cause(
    cause: str, action: str, change: Change, where: tuple[int, ...], layers: tuple[str, ...] | None
) -> None:
    found = first(report(changed(network(), change, *where)))
    assert (found.cause, found.remedy.action) == (cause, action), found
    assert layers is None or found.layers == layers
    assert found.severity == "error" and len(found.alternatives) <= 2


def test_an_input_of_another_scale_names_the_option_that_undoes_it() -> None:
    found = first(report(changed(network(), louder, 0)))
    assert found.remedy.option == "unit"
    assert found.remedy.command == f"normdiag inspect m.pt --data val.npz --preprocess {found.remedy.option}"


def test_the_command_of_recalibration_is_complete() -> None:
    found = first(report(changed(network(), moved)))
    assert found.remedy.command == "normdiag recalibrate m.pt --data train/ --preprocess raw -o fixed.pt"


def test_data_of_another_kind_dampens_all_layers_and_moves_no_means() -> None:
    found = first(report(changed(network(), dampened), decided=-0.1))
    assert (found.cause, found.remedy.action, found.layers) == ("domain_shift", "check_training_data", ("bn0",))


def test_a_network_without_a_fault_has_no_cause() -> None:
    found = report(network(), answers=0.01, decided=0.0)
    assert found.diagnosis == () and all(each.severity == "info" for each in found.findings)


def test_what_changes_no_answer_is_no_error() -> None:
    drifting = changed(network(), moved)
    assert {each.severity for each in report(drifting).findings if each.rule == "ND301"} == {"error"}
    frozen = report(drifting, answers=0.0, decided=-0.3)
    assert "error" not in {each.severity for each in (*frozen.findings, *frozen.diagnosis)}


def test_never_updated_is_an_error_whatever_it_changes() -> None:
    assert first(report(changed(network(), reset, 3), answers=0.0)).severity == "error"


def one_sided(of: Report) -> Report:
    gap = Gap("y", 0.5, 0.3, 0.1, 32, 256, 0.9, 0.1, classes=10, answered=1.1)
    return diagnosed(replace(of, gap=gap, diagnosis=()), CAUSES)


def test_images_of_one_class_are_told_from_wrong_statistics() -> None:
    found = one_sided(report(changed(network(), of_one_class, 4, 5), decided=-0.6))
    assert [each.cause for each in found.diagnosis] == ["skewed_data"] and found.diagnosis[0].severity == "info"
    assert all(each.severity == "info" for each in found.findings)
    assert one_sided(report(changed(network(), moved), decided=0.6)).diagnosis[0].cause == "stale_statistics"


def test_copies_of_a_few_samples_judge_nothing() -> None:
    of = report(changed(network(), moved))
    assert of.data is not None
    found = diagnosed(replace(of, data=replace(of.data, distinct=8), diagnosis=()), CAUSES)
    assert [each.cause for each in found.diagnosis] == ["skewed_data"]


def exchanged(each: Truth) -> Truth:
    return replace(each, gamma=each.beta, beta=each.gamma)


def test_gamma_and_beta_exchanged_show_without_drift() -> None:
    found = first(report(changed(network(), exchanged, 5), answers=0.0))
    assert (found.cause, found.layers, found.remedy.action) == ("wrong_affine", ("bn5",), "reload_weights")


def shifted(each: Truth) -> Truth:
    return replace(each, mean=each.mean + 0.9 * np.sqrt(each.var) * RNG.normal(size=CHANNELS))


def test_drift_that_begins_behind_a_norm_and_goes_on_points_to_it() -> None:
    layers = changed(changed(network(), shifted, 3), quieter, 4, 5)
    found = first(report(layers))
    assert (found.cause, found.layers[0]) == ("wrong_affine", "bn2")


def test_causes_are_documented_and_their_names_are_no_rules() -> None:
    for cause in CAUSES:
        assert cause.doc.splitlines()[0].endswith((".", ":")) or cause.headline.endswith(".")
        assert all(word in cause.doc for word in ("What it means:", "How it is told:", "What to do:", "Source:"))
    assert not {cause.name for cause in CAUSES} & {rule.name for rule in RULES}


def test_drift_on_training_data_is_the_fault_of_the_statistics() -> None:
    shifted = changed(network(), quieter, 0)  # an input, or statistics taken on another
    alone = first(report(shifted))
    assert alone.cause in ("input_preparation", "domain_shift") and alone.test.startswith("--train-data")
    both = first(with_training_data(report(shifted), shifted))
    assert both.cause == "stale_statistics" and both.remedy.action == "recalibrate"
    assert not {"input_preparation", "domain_shift"} & set(both.alternatives) and "--train-data" not in both.test


def test_none_on_training_data_is_the_fault_of_the_data() -> None:
    drifting = changed(network(), moved)
    assert first(report(drifting)).cause == "stale_statistics"
    found = first(with_training_data(report(drifting), network()))
    assert found.cause == "domain_shift" and "stale_statistics" not in found.alternatives


def test_frozen_statistics_that_serve_better_are_left_alone() -> None:
    drifting = changed(network(), moved)
    found = first(with_training_data(report(drifting, decided=-0.5), drifting))
    assert found.cause == "stale_statistics" and found.severity == "warning" and found.remedy.action == "none"


def test_a_mixture_that_a_layer_updated_as_often_does_not_share_is_none() -> None:
    assert first(report(changed(network(), mixed))).cause == "not_warmed_up"
    assert first(report(changed(network(), mixed, 1, 2, 3, 4, 5))).cause != "not_warmed_up"


def test_gammas_of_the_wrong_sign_in_the_last_norm_need_no_norm_after_it() -> None:
    def less_one(each: Truth) -> Truth:
        return replace(each, gamma=each.gamma - 1.0)

    found = report(changed(network(), less_one, 5))
    assert first(found).cause == "wrong_affine" and first(found).layers == ("bn5",)


def test_a_channel_that_was_constant_in_training_says_nothing_of_its_layer() -> None:
    def with_a_constant_channel(each: Truth) -> Truth:
        first = np.arange(CHANNELS) == 0
        return replace(
            each, stored_mean=each.mean - np.where(first, 1.0, 0.0), stored_var=np.where(first, 1e-9, each.var)
        )

    layers = changed(changed(network(), moved), with_a_constant_channel, 3)
    found = first(report(layers))
    assert (found.cause, found.layers[0]) == ("stale_statistics", "bn0")


def test_another_preparation_is_named_only_where_it_leaves_the_answers_alone() -> None:
    shifted = changed(network(), quieter, 0)

    def tried(changed_answers: float, entropy: float) -> Diagnosis:
        now = RankedPreparation("raw", "as it is stored", 0.9, 0.01, 0.9, 0.01, 0.6, "drift")
        other = RankedPreparation("signed", "-1..1", 0.1, 0.01, entropy, 0.01, changed_answers)
        ranking = Preparations("raw", ("bn0", "bn1", "bn2"), (other, now), ("signed",), "signed")
        gap = Gap("y", 0.5, 0.3, 0.1, 32, 256, 0.9, 0.1, classes=10, answered=5.0)
        return first(diagnosed(replace(report(shifted), gap=gap, preparations=ranking, diagnosis=()), CAUSES))

    right = tried(0.01, 0.2)
    assert (right.cause, right.remedy.action, right.remedy.option) == ("input_preparation", "fix_input", "signed")
    assert tried(0.4, 0.2).remedy.option is None and tried(0.01, 1.5).remedy.option is None


def test_outputs_without_classes_are_judged_by_how_far_they_move() -> None:
    def shifted(each: Truth) -> Truth:
        return replace(each, stored_mean=each.mean + 0.2 * np.sqrt(each.var) * RNG.normal(size=CHANNELS))

    def rules(layers: list[Truth], size: float) -> set[str]:
        of = report(layers)
        assert of.recalibration is not None
        change = OutputChange(size, 0.01)
        seen = replace(of.recalibration, change=change, noise=OutputChange(0.05, 0.01), answered=None)
        return {each.rule for each in with_findings(replace(of, recalibration=seen), RULES_HERE).findings}

    assert "ND308" in rules(changed(network(), shifted), 0.3)
    assert "ND308" not in rules(changed(network(), shifted), 0.08)
    assert "ND308" not in rules(changed(network(), dampened), 0.3), "deviations may be the data's"


def test_a_mixture_in_all_layers_is_found_by_data_alone() -> None:
    def a_tenth(each: Truth) -> Truth:
        return replace(each, stored_mean=0.9 * each.mean, stored_var=0.9 * each.var + 0.1)

    found = report(changed(network(), a_tenth), answers=0.0, decided=0.0)
    assert "ND105" in {each.rule for each in found.findings} and first(found).cause == "not_warmed_up"
    assert "ND105" not in {each.rule for each in report(changed(network(), moved)).findings}


def test_a_dropout_widens_what_comes_after_it_and_moves_no_means() -> None:
    def wider(each: Truth) -> Truth:
        return replace(each, stored_var=1.5 * each.var * np.exp(0.2 * RNG.normal(size=CHANNELS)))

    def after_a_dropout(layers: list[Truth]) -> str:
        names = tuple(f"bn{index}" for index in range(1, 6))
        evidence = {"keep": 0.7, "expected_drift": 0.16}
        known = Finding("ND204", "dropout-before-norm", "info", "medium", names, "dropped", "", evidence)
        found = report(layers)
        return first(diagnosed(replace(found, findings=(*found.findings, known), diagnosis=()), CAUSES)).cause

    later = (1, 2, 3, 4, 5)
    assert after_a_dropout(changed(network(), wider, *later)) == "dropout_before_norm"
    assert after_a_dropout(changed(network(), moved, *later)) != "dropout_before_norm", "it moves no means"
    assert after_a_dropout(changed(network(), wider)) != "dropout_before_norm", "the first layer is before it"
