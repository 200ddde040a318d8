"""From one norm through the graph to the layers that take it up, against the flow of data or along it.

A walk changes nothing. It visits operations in order, so that each one is asked once with all that its outputs (inputs)
need together; it succeeds as a whole or ends at the first obstacle. A scalar constant on the way, as of x * 0.5, is
taken along: the layers absorb it together with the norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from normdiag.folding.affine import compose, is_identity, numbers, rank, shifts
from normdiag.folding.follow import downstream, passes, upstream
from normdiag.folding.obstacle import Obstacle, blocked, titled
from normdiag.folding.situation import Situation, own_map
from normdiag.folding.targets import FLOATS, inner_obstacle, is_number, is_target, outer_obstacle
from normdiag.records import Affine, Conv, Linear, Norm, Op, Opaque

# Array elements that cost as much as one visit to an operation.
ELEMENTS_PER_STEP = 512


@dataclass(frozen=True)
class Route:
    """Where a walk ended: what each layer absorbs, by index in the order of the walk, and the ops on the way.

    `along` are scalar constants that the layers absorb as well.
    """

    takes: dict[int, Affine] = field(default_factory=dict)
    through: list[int] = field(default_factory=list)
    along: list[int] = field(default_factory=list)

    def stays(self, index: int, source: int, affine: Affine) -> bool:
        """Whether nothing changes beyond an op that the walk came to; what goes itself hands its tensor on anyhow."""
        return is_identity(affine) and index != source and index not in self.along


def walk_up(situation: Situation, source: int, affine: Affine) -> Route | Obstacle:
    """To the layers before: their outputs must undergo `affine` so that the input of `source` does."""
    route = Route()
    pending: dict[str, Affine] = {}
    queue: list[int] = []
    arriving, reader = {0: affine}, source
    while True:
        for position, each in arriving.items():
            if route.stays(reader, source, each):
                continue
            tensor = situation.op(reader).inputs[position]
            needed = _needed_before(situation, tensor, reader, first=reader == source)
            if needed:
                return needed
            pending[tensor] = each
            heappush(queue, -situation.producers[tensor])
        if not queue:
            return route
        reader = -heappop(queue)
        outputs = {i: pending.pop(name) for i, name in enumerate(situation.op(reader).outputs) if name in pending}
        step = _ask_before(situation, route, source, reader, outputs) if outputs else {}
        if isinstance(step, Obstacle):
            return step
        arriving = step


def walk_down(situation: Situation, source: int, affine: Affine) -> Route | Obstacle:
    """To the layers after: every reader of the output of `source` must undergo `affine` on its input."""
    route = Route()
    pending: dict[str, Affine] = {}
    queue: list[int] = []
    leaving, writer = {0: affine}, source
    while True:
        for position, each in leaving.items():
            tensor = situation.op(writer).outputs[position]
            if not tensor or route.stays(writer, source, each):
                continue
            needed = _needed_after(situation, tensor, first=writer == source)
            if needed:
                return needed
            pending[tensor] = each
            for index in situation.readers[tensor]:
                heappush(queue, index)
        if not queue:
            return route
        writer = heappop(queue)
        while queue and queue[0] == writer:
            heappop(queue)
        inputs = {i: pending[name] for i, name in enumerate(situation.op(writer).inputs) if name in pending}
        step = _ask_after(situation, route, source, writer, inputs)
        if isinstance(step, Obstacle):
            return step
        leaving = step


def _needed_before(situation: Situation, tensor: str, reader: int, *, first: bool) -> Obstacle | None:
    """Why the values of a tensor ahead of the norm must not change."""
    where = f"its input {tensor!r}" if first else f"{tensor!r} on the way to it"
    others = [index for index in situation.readers[tensor] if index != reader]
    if others:
        other = situation.op(others[0])
        return Obstacle(f"{where} is also used by {titled(other)}", other.name)
    if len(situation.readers[tensor]) > 1:
        return blocked(situation.op(reader), f"{where} is used twice by {{op}}")
    return _fixed_tensor(situation, tensor, where) or (
        None if tensor in situation.producers else Obstacle(f"{where} is an input of the graph", tensor)
    )


def _needed_after(situation: Situation, tensor: str, *, first: bool) -> Obstacle | None:
    """Why the values of a tensor after the norm must not change."""
    return _fixed_tensor(situation, tensor, f"its output {tensor!r}" if first else f"{tensor!r} after it")


def _fixed_tensor(situation: Situation, tensor: str, where: str) -> Obstacle | None:
    if tensor in situation.outputs:
        return Obstacle(f"{where} is an output of the graph", tensor)
    dtype = situation.graph.dtypes.get(tensor, "float32")
    if dtype not in FLOATS:
        return Obstacle(f"{where} holds {dtype}", tensor)
    pinned = situation.graph.pinned.get(tensor)
    return Obstacle(f"{where} must keep its values: {pinned}", tensor) if pinned is not None else None


def _ask_before(
    situation: Situation, route: Route, source: int, index: int, outputs: Mapping[int, Affine]
) -> dict[int, Affine] | Obstacle:
    """Have the op at `index` absorb what its outputs must undergo, or say what that means for its inputs."""
    op = situation.op(index)
    if situation.spent(sum(numbers(each) for each in outputs.values()) // ELEMENTS_PER_STEP):
        return blocked(op, "the graph before it is too entangled to follow")
    if index in situation.gone:
        return dict(outputs)
    if passes(op):
        route.through.append(index)
        return upstream(op, outputs, situation.graph, situation.shift_takers)
    if is_number(op):
        return _along(route, op, index, outputs[0], ahead=False)
    if not is_target(op) or index in situation.settled or index in situation.waiting:
        return blocked(op, f"it comes out of {{op}}, {_why_not(op)}")
    obstacle = outer_obstacle(op, outputs[0]) if set(outputs) == {0} else blocked(op, "it comes out of {op}")
    return obstacle or _taken(situation, route, source, index, outputs[0])


def _ask_after(
    situation: Situation, route: Route, source: int, index: int, inputs: Mapping[int, Affine]
) -> dict[int, Affine] | Obstacle:
    """Have the op at `index` absorb what its inputs lack, or say what its outputs lack then."""
    op = situation.op(index)
    if situation.spent(sum(numbers(each) for each in inputs.values()) // ELEMENTS_PER_STEP):
        return blocked(op, "the graph after it is too entangled to follow")
    if index in situation.gone:
        return dict(inputs)
    if passes(op):
        route.through.append(index)
        return downstream(op, inputs, situation.graph)
    if is_number(op):
        fixed = situation.graph.fixed
        return _past(route, op, index, inputs[0]) if fixed else _along(route, op, index, inputs[0], ahead=True)
    if not is_target(op) or index in situation.settled or index in situation.waiting:
        return blocked(op, f"its output goes into {{op}}, {_why_not(op)}")
    obstacle = inner_obstacle(op, inputs[0]) if set(inputs) == {0} else blocked(op, "its output goes into {op}")
    return obstacle or _taken(situation, route, source, index, inputs[0])


def _along(route: Route, op: Op, index: int, affine: Affine, *, ahead: bool) -> dict[int, Affine] | Obstacle:
    """Take a scalar constant along; `ahead`: it comes after the map."""
    own = own_map(op, rank(affine))
    why = getattr(op.detail, "obstacle", None)
    if own is None or why:
        return blocked(op, f"a constant of {{op}} {why}" if why else "its channels do not fit those of {op}")
    route.along.append(index)
    return {0: compose(affine, own) if ahead else compose(own, affine)}


def _past(route: Route, op: Op, index: int, affine: Affine) -> dict[int, Affine] | Obstacle:
    """Let a scalar constant stay where it is: what comes after it must make up for what came before.

    It does c x + d. With the map x -> s x + t no longer before it, s (c x + d) + (c t + d - s d) is what it gave.
    """
    own = own_map(op, rank(affine))
    if own is None:
        return blocked(op, "its channels do not fit those of {op}")
    route.through.append(index)
    return {0: Affine(affine.scale, own.scale * affine.shift + own.shift - affine.scale * own.shift)}


def _taken(situation: Situation, route: Route, source: int, index: int, affine: Affine) -> dict[int, Affine] | Obstacle:
    op, why = situation.op(index), situation.barred.get((source, index))
    if why:
        return Obstacle(why, op.name)
    if situation.graph.fixed and shifts(affine) and isinstance(op.detail, Conv | Linear) and op.detail.bias is None:
        return blocked(op, "{op} has no bias to absorb its beta", shift_only=True)
    route.takes[index] = affine
    return {}


def _why_not(op: Op) -> str:
    match op.detail:
        case Opaque(why=why):
            return why
        case Norm(obstacle=str(why)):
            return f"which stays: {why}"
        case _:
            return "which has no parameters left to take it up"
