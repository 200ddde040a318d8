"""Carrying an affine map through one operation that lies between a norm and the layer that takes it up.

Both directions work on whole operations: what all of its outputs (inputs) together ask for gives what its inputs
(outputs) must take, by index. Nothing is guessed: where a rank or size that matters is unknown, it is an obstacle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from normdiag.folding.affine import LIMIT, numbers
from normdiag.folding.follow.join import (
    add_down,
    add_up,
    concat_down,
    concat_up,
    select_down,
    select_up,
    split_down,
    split_up,
)
from normdiag.folding.follow.reshape import reshape_down, reshape_up
from normdiag.folding.follow.structure import pass_through, transpose_down, transpose_up, window_down, window_up
from normdiag.folding.follow.take import take_down, take_up
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.records import Add, Affine, Concat, Op, OpGraph, Pass, Reshape, Select, Split, Take, Transpose, Window

_UP = {
    Pass: pass_through,
    Transpose: transpose_up,
    Reshape: reshape_up,
    Window: window_up,
    Concat: concat_up,
    Split: split_up,
    Take: take_up,
    Select: select_up,
}
_DOWN = {
    Pass: pass_through,
    Transpose: transpose_down,
    Reshape: reshape_down,
    Window: window_down,
    Concat: concat_down,
    Split: split_down,
    Take: take_down,
    Add: add_down,
    Select: select_down,
}


def passes(op: Op) -> bool:
    """Whether this operation can be gone through at all."""
    return type(op.detail) in _DOWN


def upstream(
    op: Op, outputs: Mapping[int, Affine], graph: OpGraph, shift_takers: Collection[str] = ()
) -> dict[int, Affine] | Obstacle:
    """What each input must undergo so that each output in `outputs` undergoes its map, and the others do not change.

    Inputs that are not in the answer stay as they are. `shift_takers` are tensors that had better take the shift where
    one branch of an Add must.
    """
    joins = len(op.outputs) == _parts(op)
    if not joins and set(outputs) != {0}:
        return blocked(op, "the channels cannot be followed through {op}")
    if isinstance(op.detail, Add):
        return add_up(op, outputs[0], graph, shift_takers)
    return _bounded(op, _UP[type(op.detail)](op, outputs, graph))


def downstream(op: Op, inputs: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """What maps each output as it will be to the output as it was, where `inputs` says the same of the inputs."""
    if not isinstance(op.detail, Concat | Add | Select) and set(inputs) != {0}:
        return blocked(op, "the channels cannot be followed through {op}")
    return _bounded(op, _DOWN[type(op.detail)](op, inputs, graph))


def _parts(op: Op) -> int:
    """How many outputs it cuts its input into."""
    match op.detail:
        case Split(parts=parts) | Take(picks=parts):
            return len(parts)
    return 0


def _bounded(op: Op, carried: dict[int, Affine] | Obstacle) -> dict[int, Affine] | Obstacle:
    if isinstance(carried, dict) and any(numbers(affine) > LIMIT for affine in carried.values()):
        return blocked(op, "its channels spread over too many positions in {op}")
    return carried
