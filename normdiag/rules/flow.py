"""Who writes and who reads each tensor of an OpGraph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from normdiag.records import Norm, Op, OpGraph, OpKind, Size


@dataclass(frozen=True, eq=False)
class Flow:
    """The writer and the readers of each tensor, by its name; an input of the graph has no writer."""

    writers: Mapping[str, Op]
    readers: Mapping[str, Sequence[Op]]

    def before(self, op: Op, *skipped: OpKind) -> Op | None:
        """What writes the first input of an operation, past operations of the kinds skipped."""
        found = self.writers.get(op.inputs[0]) if op.inputs else None
        while found is not None and found.kind in skipped:
            found = self.writers.get(found.inputs[0]) if found.inputs else None
        return found

    def after(self, op: Op) -> Iterator[Op]:
        """What reads the outputs of an operation."""
        for name in op.outputs:
            yield from self.readers.get(name, ())


def flow(graph: OpGraph) -> Flow:
    """The links of a graph."""
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in graph.ops:
        for name in op.inputs:
            readers[name].append(op)
    return Flow({name: op for op in graph.ops for name in op.outputs if name}, readers)


def norms(graph: OpGraph) -> Mapping[str, tuple[Op, Norm]]:
    """The normalization layers among the operations, by the names that `inspect` gives them."""
    found = ((op, op.detail) for op in graph.ops)
    return {detail.layer.name: (op, detail) for op, detail in found if isinstance(detail, Norm)}


def elements(sizes: Iterable[Size]) -> int | None:
    """How many elements dimensions hold; None where one of them is free."""
    known = [size.known for size in sizes]
    return None if None in known else prod(size for size in known if size is not None)
