"""Points of two formats of the same model, paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.matching.points import match_points
from normdiag.records import Point, PointMap, PointRole
from tests.profiles.profiles import sums

Row = tuple[PointRole, str, str, int, float]
TORCH: list[Row] = [
    ("input", "input", "", 3, 0.0),
    ("norm", "bn1", "batch_norm", 8, 0.0),
    ("activation", "relu", "relu", 8, 1.0),
    ("norm", "layer1.bn1", "batch_norm", 8, 2.0),
    ("activation", "layer1.relu", "relu", 8, 3.0),
    ("norm", "layer1.bn2", "batch_norm", 8, 4.0),
    ("activation", "layer1.relu_2", "relu", 8, 5.0),
    ("activation", "layer1.relu_3", "relu", 8, 6.0),
    ("activation", "head.act", "gelu", 16, 7.0),
    ("output", "output", "", 10, 0.0),
]


def points(rows: list[Row], off: float = 0.0) -> PointMap:
    return {
        Point(role, name, kind): sums(channels, 64, mean=mean + off, seed=index)
        for index, (role, name, kind, channels, mean) in enumerate(rows)
    }


def renamed(rows: list[Row], *names: str) -> list[Row]:
    return [(role, name, kind, c, mean) for (role, _, kind, c, mean), name in zip(rows, names, strict=True)]


FOLDED = [each for each in TORCH if each[0] != "norm"]


def names(rows: PointMap, others: PointMap) -> dict[str, str]:
    return {one.name: two.name for one, two in match_points(rows, others).pairs}


def test_the_same_model_is_matched_by_name() -> None:
    found = match_points(points(TORCH), points(TORCH))
    assert len(found.pairs) == len(TORCH) and not found.here_alone and not found.there_alone
    assert all(one == two for one, two in found.pairs)


def test_a_folded_export_keeps_its_activations() -> None:
    found = match_points(points(FOLDED), points(TORCH))
    assert [one.name for one, _ in found.pairs] == [row[1] for row in FOLDED]
    assert all(one == two for one, two in found.pairs) and not found.here_alone
    assert [each.name for each in found.there_alone] == ["bn1", "layer1.bn1", "layer1.bn2"]


@pytest.mark.parametrize("off", [0.0, 5.0])
def test_names_that_count_differently_mislead_nobody(off: float) -> None:
    """TorchScript exports call the second ReLU of a module relu_1, PyTorch relu_2: the order tells."""
    other = renamed(FOLDED, "x", "relu", "layer1.relu", "layer1.relu_1", "layer1.relu_2", "Gelu_7", "191")
    found = names(points(other, off), points(TORCH))
    expected = ["input", "relu", "layer1.relu", "layer1.relu_2", "layer1.relu_3", "head.act", "output"]
    assert list(found.values()) == expected


def test_where_order_leaves_a_choice_names_decide_and_then_values() -> None:
    one = [TORCH[6], TORCH[8]]
    assert names(points(one), points(TORCH)) == {"layer1.relu_2": "layer1.relu_2", "head.act": "head.act"}
    nameless = renamed(one, "a", "b")
    assert names(points(nameless), points(TORCH)) == {"a": "layer1.relu_2", "b": "head.act"}


def test_branches_in_another_order_are_matched_by_name() -> None:
    swapped = [*TORCH[:4], TORCH[5], TORCH[4], *TORCH[6:]]
    found = match_points(points(swapped), points(TORCH))
    assert all(one == two for one, two in found.pairs) and len(found.pairs) == len(TORCH)


def test_other_channels_and_other_kinds_do_not_match() -> None:
    other = [(role, name, "silu" if kind == "relu" else kind, c, m) for role, name, kind, c, m in TORCH]
    found = match_points(points(other), points(TORCH))
    assert [each.kind for each in found.here_alone] == ["silu"] * 4
    wider = [(role, name, kind, c + 1, m) for role, name, kind, c, m in TORCH]
    assert not match_points(points(wider), points(TORCH)).pairs


def test_inputs_and_outputs_by_name_or_else_in_order() -> None:
    two: list[Row] = [("input", "a", "", 3, 0.0), ("input", "b", "", 3, 0.0)]
    assert names(points(two[::-1]), points(two)) == {"b": "b", "a": "a"}
    assert names(points(renamed(two, "x", "y")), points(two)) == {"x": "a", "y": "b"}


@given(st.lists(st.integers(0, len(TORCH) - 1), unique=True), st.lists(st.integers(0, len(TORCH) - 1), unique=True))
def test_whatever_is_left_out_on_either_side_pairs_are_of_a_kind_and_once(one: list[int], two: list[int]) -> None:
    here, there = points([TORCH[i] for i in one]), points([TORCH[i] for i in two])
    found = match_points(here, there)
    assert len({left for left, _ in found.pairs}) == len({right for _, right in found.pairs}) == len(found.pairs)
    assert {*(left for left, _ in found.pairs), *found.here_alone} == set(here)
    assert {*(right for _, right in found.pairs), *found.there_alone} == set(there)
    for left, right in found.pairs:
        assert (left.role, left.kind, here[left].channels) == (right.role, right.kind, there[right].channels)


def test_a_hundred_equal_blocks_are_matched_one_to_one() -> None:
    rows: list[Row] = [("activation", f"block{i}.act", "gelu", 8, float(np.sin(i))) for i in range(100)]
    other = renamed(rows, *(f"Gelu_{i}" for i in range(100)))
    assert list(names(points(other), points(rows)).values()) == [row[1] for row in rows]
