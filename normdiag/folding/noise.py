"""Inputs on which the original itself is in rounding noise: what differs there proves nothing about a fold.

A detector that divides a nearly empty map by its own maximum, or SiLU at ten times the usual scale, magnifies the last
bit of its input until it shows in the first digits of its output. Any two right models differ there.
"""

from __future__ import annotations

from collections.abc import Iterable

from normdiag.folding.bound import Depth
from normdiag.folding.tally import Kept, Tally
from normdiag.records import OpGraph


def leave_out_noise(tally: Tally, group: str, kept: Kept, depth: Depth, graph: OpGraph) -> None:
    """Take back what a run added at tensors that differ where, or after, rounding alone moves the original too far.

    `kept` is what was known of the group before the run.
    """
    unsteady = tally.unsteady(group, depth)
    after = depends_on(graph, unsteady) if unsteady else frozenset()
    differing = [name for name in tally.exceeding(group, depth) if name in unsteady or name in after]
    if differing:
        largest = max(unsteady.values())
        tally.leave_out(group, kept, {name: unsteady.get(name, largest) for name in differing})


def depends_on(graph: OpGraph, tensors: Iterable[str]) -> frozenset[str]:
    """These tensors and all that is computed from them."""
    reached = set(tensors)
    for op in graph.ops:
        if not reached.isdisjoint(op.inputs):
            reached.update(op.outputs)
    return frozenset(reached)
