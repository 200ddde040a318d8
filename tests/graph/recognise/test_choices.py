"""Several choices of one tensor as one operation."""

from __future__ import annotations

from normdiag.graph.recognise.choices import together
from normdiag.records import Split, Take


def take(picks: range | tuple[int, ...] | None, removed: bool = False) -> Take:
    return Take(1, (picks,), removed)


def test_parts_that_cover_all_are_a_split_in_their_order() -> None:
    assert together([("b", take(range(2, 6))), ("a", take(range(2)))], 6) == (("a", "b"), Split(1, (2, 4)))


def test_parts_that_overlap_leave_out_or_end_early_are_choices() -> None:
    for second, size in (
        (range(1, 6), 6),
        (range(3, 6), 6),
        (range(2, 6), 7),
        (range(2, 6), None),
        (range(5, 1, -1), 6),
    ):
        outputs, detail = together([("a", take(range(2))), ("b", take(second))], size)
        assert (outputs, detail) == (("a", "b"), Take(1, (range(2), second)))


def test_single_elements_stay_choices() -> None:
    choices = [("b", take((1,), removed=True)), ("a", take((0,), removed=True))]
    assert together(choices, 2) == (("a", "b"), Take(1, ((0,), (1,)), removed=True))


def test_the_order_stands_where_it_is_not_known() -> None:
    assert together([("b", take(None)), ("a", take(range(2)))], 6) == (("b", "a"), Take(1, (None, range(2))))
