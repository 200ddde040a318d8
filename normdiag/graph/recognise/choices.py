"""What several nodes choose of one tensor along one axis: together one operation, a split where they cut it up."""

from __future__ import annotations

from collections.abc import Sequence

from normdiag.records import Split, Take

Choice = tuple[str, Take]


def together(choices: Sequence[Choice], size: int | None) -> tuple[tuple[str, ...], Take | Split]:
    """The outputs in their order, and the operation that makes them; `size` is that of the axis, None for a free one.

    A choice is the name of one output and what is taken for it, all along one axis. Those that follow each other
    without gap and cover all are a Split, as exporters write chunk and channel shuffle.
    """
    outputs, takes = zip(*_in_order(choices), strict=True)
    picks = tuple(take.picks[0] for take in takes)
    parts = None if takes[0].removed else _parts(picks, size)
    axis = takes[0].axis
    return outputs, Take(axis, picks, takes[0].removed) if parts is None else Split(axis, parts)


def _in_order(choices: Sequence[Choice]) -> Sequence[Choice]:
    """By what they take first, as the outputs of a Split follow each other; as they stand where that is not known."""
    if any(not take.picks[0] for _, take in choices):
        return choices
    return sorted(choices, key=lambda choice: (choice[1].picks[0] or (0,))[0])


def _parts(picks: Sequence[Sequence[int] | None], size: int | None) -> tuple[int, ...] | None:
    """The lengths of slices that follow each other without gap and cover all."""
    edge = 0
    for each in picks:
        if not isinstance(each, range) or each.step != 1 or each.start != edge:
            return None
        edge = each.stop
    return tuple(len(each) for each in picks if each is not None) if edge == size else None
