"""Profiles add up: shards are the whole, and what does not fit is refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.errors import InputError
from normdiag.metrics.moments import moments
from normdiag.profiles import merge
from normdiag.records import Point, Profile
from tests.profiles.profiles import MODEL, profile, sums


def test_two_shards_are_the_whole() -> None:
    one, two = profile(64), profile(40, seed=9)
    both = merge([one, two], ["a", "b"])
    assert both.data.samples == 104 and both.data.sources == ("train/", "train/") and both.notes == ("a note",)
    for point, seen in both.points.items():
        parts = [each.points[point] for each in (one, two)]
        means = [moments(each.sums).shift + each.shift for each in parts]
        np.testing.assert_allclose(
            moments(seen.sums).shift + seen.shift, (64 * means[0] + 40 * means[1]) / 104, rtol=1e-12
        )
        assert seen.count == 104


def test_the_fewest_groups_are_kept() -> None:
    assert merge([profile(), profile(groups=4)], ["a", "b"]).groups == 4


def test_the_structure_is_that_of_the_points() -> None:
    assert profile().structure == profile(40, seed=9).structure == merge([profile()], ["a"]).structure
    assert len({profile().structure, other_channels(profile()).structure, profile(points={}).structure}) == 3


def other_channels(made: Profile) -> Profile:
    point = Point("norm", "norm1", "layer_norm")
    return replace(made, points={**made.points, point: sums(9)})


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (profile(model=replace(MODEL, sha256="cd" * 32)), "they are of different model files"),
        (profile(data=replace(profile().data, preprocess="unit")), r"prepared in different ways \(imagenet and unit\)"),
        (profile(points={}), "only one of them has the input 'x'"),
        (other_channels(profile()), "'norm1' has 8 channels in one and 9 in the other"),
    ],
)
def test_what_does_not_fit_is_refused(other: Profile, why: str) -> None:
    with pytest.raises(InputError, match=f"b does not fit a: .*{why}"):
        merge([profile(), other], ["a", "b"])


def test_a_module_in_memory_has_no_file_to_differ() -> None:
    assert merge([profile(model=replace(MODEL, sha256=None)), profile()], ["a", "b"]).data.samples == 128
