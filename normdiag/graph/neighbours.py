"""What stands beside each normalization layer in the computation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from normdiag.records import Neighbours, OpGraph
from normdiag.records.opgraph import Op
from normdiag.records.ops import Norm

# So many steps on either side: from one norm by a convolution and an activation to the next. Of a step that many ops
# share, the first few.
STEPS, SHOWN = 3, 3
Step = tuple[tuple[str, str], ...]


def neighbours(graph: OpGraph) -> tuple[Neighbours, ...]:
    """Of each norm what leads to it and what follows it, step by step, up to the next norm at most."""
    writers = {tensor: op for op in graph.ops for tensor in op.outputs if tensor}
    readers: Mapping[str, list[Op]] = _readers(graph.ops)

    def sources(op: Op) -> Iterator[Op]:
        yield from (writers[tensor] for tensor in op.inputs if tensor in writers)

    def users(op: Op) -> Iterator[Op]:
        yield from (reader for tensor in op.outputs for reader in readers.get(tensor, ()))

    return tuple(
        Neighbours(op.detail.layer.name, tuple(reversed(_steps(op, sources))), tuple(_steps(op, users)))
        for op in graph.ops
        if isinstance(op.detail, Norm)
    )


def _readers(ops: Sequence[Op]) -> Mapping[str, list[Op]]:
    found: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        for tensor in dict.fromkeys(op.inputs):
            found[tensor].append(op)
    return found


def _steps(start: Op, onward: Callable[[Op], Iterable[Op]]) -> list[Step]:
    steps: list[Step] = []
    edge, seen = [start], {id(start)}
    for _ in range(STEPS):
        reached = {id(op): op for each in edge for op in onward(each) if id(op) not in seen}
        if not reached:
            break
        seen |= reached.keys()
        steps.append(tuple((op.name, _word(op)) for op in list(reached.values())[:SHOWN]))
        edge = [op for op in reached.values() if not isinstance(op.detail, Norm)]
    return steps


def _word(op: Op) -> str:
    return op.operator if op.kind in ("other", "activation") else op.kind.replace("_", " ")
