"""What stands beside each normalization layer in the computation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from normdiag.records import Neighbours, OpGraph
from normdiag.records.opgraph import Op
from normdiag.records.ops import Norm

# So many steps on either side: from one norm by a convolution and an activation to the next. Of a step that many ops
# share, the first few.
STEPS, SHOWN = 3, 3
Step = tuple[tuple[str, str], ...]


def neighbours(graph: OpGraph, layers: Sequence[str]) -> tuple[Neighbours, ...]:
    """Of each layer that is in the graph what leads to it and what follows it, step by step, up to the next layer.

    A layer is its op or, where it is several, those whose names begin with its own.
    """
    owners = {id(op): name for op in graph.ops if (name := _owner(op, set(layers))) is not None}
    members: dict[str, list[Op]] = defaultdict(list)
    for op in graph.ops:
        if id(op) in owners:
            members[owners[id(op)]].append(op)
    writers = {tensor: op for op in graph.ops for tensor in op.outputs if tensor and op.kind != "constant"}
    readers = _readers(graph.ops)

    def sources(op: Op) -> Iterator[Op]:
        yield from (writers[tensor] for tensor in op.inputs if tensor in writers)

    def users(op: Op) -> Iterator[Op]:
        yield from (reader for tensor in op.outputs for reader in readers.get(tensor, ()))

    return tuple(
        Neighbours(
            name,
            tuple(reversed(_steps(members[name], sources, owners))),
            tuple(_steps(members[name], users, owners)),
        )
        for name in layers
        if name in members
    )


def _owner(op: Op, layers: Collection[str]) -> str | None:
    """The layer that an op belongs to."""
    if isinstance(op.detail, Norm):
        return op.detail.layer.name
    beginnings = accumulate(op.name.split("."), lambda start, word: f"{start}.{word}")
    return next((start for start in beginnings if start in layers), None)


def _readers(ops: Sequence[Op]) -> Mapping[str, list[Op]]:
    found: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        for tensor in dict.fromkeys(op.inputs):
            found[tensor].append(op)
    return found


def _steps(start: Sequence[Op], onward: Callable[[Op], Iterable[Op]], owners: Mapping[int, str]) -> list[Step]:
    steps: list[Step] = []
    edge, seen = list(start), {id(op) for op in start}
    for _ in range(STEPS):
        reached = {id(op): op for each in edge for op in onward(each) if id(op) not in seen}
        if not reached:
            break
        seen |= reached.keys()
        said = ((owners[i], "norm") if i in owners else (op.name, _word(op)) for i, op in reached.items())
        steps.append(tuple(dict.fromkeys(said))[:SHOWN])
        edge = [op for i, op in reached.items() if i not in owners]
    return steps


def _word(op: Op) -> str:
    return op.operator if op.kind in ("other", "activation") else op.kind.replace("_", " ")
