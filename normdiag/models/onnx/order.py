"""The order of nodes: the standard asks for one in which they can run, and not every tool keeps to it.

onnxruntime sorts them itself, so that such a file works everywhere else: onnxconverter-common writes its last Cast at
the end of the list, after what reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from normdiag.models.onnx.parse import subgraphs


def running_order(graph: Any) -> tuple[int, ...] | None:
    """The nodes of an onnx.GraphProto in an order in which each comes after what it reads, as near to theirs as can be.

    None where they are in such an order already, or where there is none: then somebody reads what nobody writes, or
    nodes wait for each other.
    """
    reads = [list(_reads(node)) for node in graph.node]
    writers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    before = [{writers[name] for name in names if name in writers} for names in reads]
    if all(max(each, default=-1) < index for index, each in enumerate(before)):
        return None
    order = tuple(_sorted(before))
    return order if len(order) == len(before) else None


def _sorted(before: Sequence[set[int]]) -> Iterator[int]:
    """Of those whose turn it could be always the first; what waits for itself never comes."""
    after = defaultdict(list)
    for index, each in enumerate(before):
        for writer in each:
            after[writer].append(index)
    missing = [len(each) for each in before]
    ready = [index for index, count in enumerate(missing) if not count]
    heapify(ready)
    while ready:
        index = heappop(ready)
        yield index
        for reader in after[index]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)


def _reads(node: Any) -> Iterator[str]:
    """What a node reads, in its subgraphs too."""
    yield from node.input
    for body in subgraphs(node):
        for inner in body.node:
            yield from _reads(inner)
        yield from (output.name for output in body.output)
