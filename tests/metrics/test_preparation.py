"""The ranking of preparations: paired errors, what counts as alike, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.metrics.preparation import (
    Figure,
    Fit,
    clearly_better,
    drift_figure,
    entropies,
    entropy_figure,
    in_the_running,
    ranked,
    surely_best,
    surely_first,
    takes_most_away,
)
from normdiag.records import ChannelSums, Span
from normdiag.records.channel_sums import PARTS
from tests.report.reports import batch_norm

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=PARTS)


def figure(mean: float, noise: float = 0.0) -> Figure:
    """A figure of 16 equal parts, whose values scatter alike in all figures made here."""
    parts = mean + noise * (NOISE - NOISE.mean())
    return Figure(float(parts.mean()), (parts.sum() - parts) / (PARTS - 1), np.full(PARTS, 10))


def test_the_error_of_a_difference_leaves_out_what_both_share() -> None:
    one, other = figure(0.3, noise=0.2), figure(0.25, noise=0.2)
    assert one.se == pytest.approx(0.2 * NOISE.std(ddof=1) / 4)
    difference, se = one.minus(other)
    assert difference == pytest.approx(0.05) and se < 1e-9


def test_entropy_of_known_distributions() -> None:
    np.testing.assert_allclose(entropies(np.array([[0.5, 0.5], [1.0, 0.0]])), [np.log(2), 0.0])
    values = RNG.exponential(size=37)
    seen = entropy_figure(values, first=5)
    assert seen.whole == pytest.approx(values.mean())
    kept = values[(np.arange(37) + 5) % PARTS != 3]
    assert seen.without[3] == pytest.approx(kept.mean())


def test_drift_is_that_of_all_channels_of_the_layers() -> None:
    layer = batch_norm("bn", 4)
    assert layer.running_var is not None and layer.eps is not None
    m, q = RNG.normal(size=(64, 4)), RNG.exponential(size=(64, 4)) + 1
    sums = ChannelSums.of(m, q, Span(0, 64))
    s = np.sqrt(layer.running_var + layer.eps)

    def drift(rows: np.ndarray) -> float:
        shift = m[rows].mean(0)
        r = np.sqrt(q[rows].mean(0) - shift**2 + layer.eps) / s
        return float(np.sqrt(np.mean((shift / s) ** 2 + (r - 1) ** 2)))

    found = drift_figure([(layer, sums), (layer, sums)])
    assert found.whole == pytest.approx(drift(np.arange(64)))
    assert found.without[2] == pytest.approx(drift(np.arange(64)[np.arange(64) % PARTS != 2]))


def test_far_drift_decides_before_anything_else() -> None:
    fits = [Fit(figure(0.2), figure(0.5), 10), Fit(figure(40.0), figure(0.0), 10)]
    assert in_the_running(fits) == [0]
    assert ranked(fits) == [(0, None), (1, "drift")]


def test_sharper_predictions_decide_between_near_drifts() -> None:
    fits = [Fit(figure(0.18), figure(0.3), 10), Fit(figure(0.25), figure(0.02), 10)]
    assert ranked(fits) == [(1, None), (0, "entropy")]


def test_what_is_as_sharp_is_ranked_by_drift_and_first_only_if_surely() -> None:
    near = [Fit(figure(0.25, 0.1), figure(0.02), 10), Fit(figure(0.2, 0.1), figure(0.02), 10)]
    assert ranked(near) == [(1, None), (0, None)] and surely_first(near, [1, 0])
    noisy = [Fit(figure(0.25, 0.1), figure(0.02), 10), Fit(figure(0.2, -0.4), figure(0.02), 10)]
    assert ranked(noisy) == [(1, None), (0, None)] and not surely_first(noisy, [1, 0])


def test_the_first_is_best_where_drift_and_predictions_agree() -> None:
    first = Fit(figure(0.2, 0.1), figure(0.02), 10)
    assert surely_best([first], 0)
    assert surely_best([first, Fit(figure(0.25, 0.1), figure(0.021), 10)], 0)
    assert not surely_best([first, Fit(figure(0.25, 0.1), figure(0.015), 10)], 0)
    assert not surely_best([first, Fit(figure(0.25, -0.4), figure(0.021), 10)], 0)
    assert not surely_best([Fit(figure(0.2), None), Fit(figure(0.25), None)], 0)


def test_against_less_drift_predictions_must_be_far_sharper() -> None:
    first = Fit(figure(0.2), figure(0.02), 10)
    assert surely_best([first, Fit(figure(0.15), figure(0.031), 10)], 0)
    assert not surely_best([first, Fit(figure(0.15), figure(0.025), 10)], 0)


def test_what_was_fitted_is_never_surely_best_and_what_adapts_comes_last() -> None:
    fitted = Fit(figure(0.05), figure(0.02), 10, numbers_from="statistics")
    assert not surely_best([fitted], 0) and surely_best([replace(fitted, numbers_from="preset")], 0)
    near = [fitted, Fit(figure(0.08), figure(0.02), 10)]
    assert ranked(near) == [(1, None), (0, None)] and not surely_best(near, 1)


def test_a_scale_that_takes_most_of_the_drift_away_speaks_against_what_left_it() -> None:
    assert takes_most_away(fit(0.04), fit(0.15))
    assert not takes_most_away(fit(0.155), fit(0.227))  # what augmentation leaves on ResNet20
    assert not takes_most_away(fit(0.01), fit(0.06))  # the same preparation, but for a few samples
    assert not takes_most_away(Fit(figure(0.04, 0.4), None), fit(0.15))


def test_what_normalizes_each_image_is_best_only_where_nothing_else_is_near() -> None:
    per_image = Fit(figure(0.1), figure(0.01), 10, numbers_from="images")
    near, far = Fit(figure(0.15), figure(0.05), 10), Fit(figure(0.3), figure(0.05), 10)
    assert surely_best([replace(per_image, numbers_from="preset"), near, far], 0)
    assert not surely_best([per_image, near, far], 0)
    assert surely_best([per_image, far], 0)


def test_on_images_of_another_kind_sharper_predictions_say_nothing() -> None:
    fits = [Fit(figure(0.2), figure(0.1), 10, changed=0.3), Fit(figure(0.18), figure(0.3), 10, changed=0.3)]
    assert ranked(fits) == [(1, None), (0, None)]
    assert not surely_best(fits, 1) and not surely_best(fits, 0)
    assert not surely_best(fits[:1], 0)


def test_vague_predictions_and_other_outputs_say_nothing() -> None:
    vague = [Fit(figure(0.18), figure(2.2), 10), Fit(figure(0.25), figure(2.0), 10)]
    assert ranked(vague) == [(0, None), (1, None)]
    other = [Fit(figure(0.25), None), Fit(figure(0.18), None)]
    assert ranked(other) == [(1, None), (0, None)]


def test_a_drift_that_is_not_a_number_comes_last() -> None:
    fits = [Fit(figure(float("nan")), None), Fit(figure(0.3), None)]
    assert ranked(fits) == [(1, None), (0, "drift")]


def fit(drift: float, entropy: float | None = 0.1) -> Fit:
    return Fit(figure(drift, 0.02), None if entropy is None else figure(entropy, 0.02), 10)


def test_what_drifts_less_than_augmentation_explains_is_clearly_better() -> None:
    assert clearly_better(fit(0.1), [fit(0.4), fit(0.3)])
    assert clearly_better(fit(0.1, None), [fit(0.3, None)])
    assert not clearly_better(fit(0.1), [fit(0.4), fit(0.2)])
    assert not clearly_better(fit(0.3), [fit(0.1)])


def test_among_near_drifts_less_drift_and_sharper_predictions_are_both_needed() -> None:
    assert clearly_better(fit(0.2, 0.1), [fit(0.3, 0.3)])
    assert not clearly_better(fit(0.2, 0.3), [fit(0.3, 0.1)])
    assert not clearly_better(fit(0.3, 0.1), [fit(0.2, 0.3)])
    assert not clearly_better(fit(0.2, None), [fit(0.3, None)])
    assert not clearly_better(fit(0.2, 2.2), [fit(0.3, 2.3)])  # predictions that say nothing


def test_each_near_rival_must_be_surely_worse_and_far_ones_do_not_matter() -> None:
    assert not clearly_better(fit(0.2, 0.1), [fit(0.3, 0.3), fit(0.25, 0.05)])
    assert clearly_better(fit(0.2, 0.1), [fit(0.3, 0.3), fit(2.0, 0.0)])


def test_differences_within_the_error_are_not_clear() -> None:
    noisy = Fit(figure(0.2, 0.5), figure(0.1, 0.02), 10)
    assert not clearly_better(noisy, [fit(0.3, 0.3)])
