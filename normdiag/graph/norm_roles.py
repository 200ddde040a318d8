"""Where in a transformer a norm stands, from the graph alone: its inputs, who reads it, and no name of a layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from normdiag.records import NormRole, Op, OpGraph
from normdiag.records.ops import Norm
from normdiag.records.report import Role

# What a tensor passes on its way without becoming another: changes of shape, and arithmetic with constants.
_PASSING = frozenset({"reshape", "transpose", "split", "concat", "identity", "dropout", "scale_shift", "resize"})
_PRODUCTS = frozenset({"mul"})  # by the cosines and sines of a rotary embedding
_SCORES = frozenset({"matmul", "bmm", "baddbmm", "einsum"})
# Fused attention: queries and keys are its first two inputs.
_ATTENTION = frozenset({"scaled_dot_product_attention", "attention", "multiheadattention", "groupqueryattention"})
# Steps after which a walk gives up: a rotary embedding takes about ten.
_STEPS = 64


def norm_roles(graph: OpGraph) -> tuple[NormRole, ...]:
    """The layer and RMS norms whose place the graph shows.

    qk: of queries or keys, between their projection and the product of the two. sandwich: of what a sub-layer puts out,
    before it is added, where another norm stands before the sub-layer; output: the same without one. post: of the
    sum, which goes on as the residual. pre: of the residual, which goes on beside it.
    """
    view = _View(graph)
    norms = (
        op for op in graph.ops if isinstance(op.detail, Norm) and op.detail.layer.kind in ("layer_norm", "rms_norm")
    )
    found = ((op, view.role(op)) for op in norms)
    return tuple(NormRole(op.name, role) for op, role in found if role is not None)


class _View:
    """Who writes and who reads each tensor."""

    def __init__(self, graph: OpGraph) -> None:
        self._writer = {name: op for op in graph.ops if op.kind != "constant" for name in op.outputs if name}
        readers: dict[str, list[Op]] = defaultdict(list)
        for op in graph.ops:
            for name in dict.fromkeys(op.inputs):
                readers[name].append(op)
        self._readers: Mapping[str, Sequence[Op]] = readers

    def role(self, norm: Op) -> Role | None:
        source, x = self._source(norm.inputs[0])
        users = list(self._users(norm.outputs[0]))
        if source is not None and source.kind in ("linear", "conv") and any(self._is_query(*each) for each in users):
            return "qk"
        sums = [(op, name) for op, name in users if op.kind == "add"]
        if sums and len(sums) == len(users) and (source is None or source.kind != "add"):
            return "sandwich" if any(self._normalized(name, op) for op, name in sums) else "output"
        if sums and len(users) > len(sums) and source is not None and source.kind == "add":
            return "post"
        if self._is_residual(x) and not sums:
            return "pre"
        return None

    def _source(self, name: str) -> tuple[Op | None, str]:
        """The op that made a tensor before it was moved about, and what that wrote."""
        for _ in range(_STEPS):
            op = self._writer.get(name)
            if op is None or op.kind not in _PASSING or not op.inputs:
                return op, name
            name = op.inputs[0]
        return None, name

    def _users(self, name: str, depth: int = 0) -> Iterator[tuple[Op, str]]:
        """The ops that read a tensor, or what it becomes on the way, and under which name."""
        for op in self._readers.get(name, ()):
            passes = op.kind in _PASSING and depth < _STEPS
            if passes:
                for output in op.outputs:
                    yield from self._users(output, depth + 1)
            else:
                yield op, name

    def _is_query(self, op: Op, name: str, depth: int = 0) -> bool:
        """Whether this op multiplies queries with keys, or leads there by way of a rotary embedding."""
        kind = op.operator.lower()
        if kind in _ATTENTION:
            return name in op.inputs[:2]
        if kind in _SCORES and len(op.inputs) == 2:
            return not any(self._is_softmax(other) for other in op.inputs if other != name)
        rotary = (kind in _PRODUCTS or op.kind == "add") and depth < 8
        return rotary and any(self._is_query(*each, depth + 1) for out in op.outputs for each in self._users(out))

    def _is_softmax(self, name: str) -> bool:
        source, _ = self._source(name)
        return source is not None and "softmax" in source.operator.lower()

    def _normalized(self, name: str, add: Op) -> bool:
        """Whether what this sum adds to is also read by a norm."""
        residuals = {each for other in add.inputs if other != name for each in self._same(other)}
        return any(op.kind == "norm" for each in residuals for op, _ in self._users(each))

    def _is_residual(self, name: str) -> bool:
        """Whether a tensor goes on, besides to norms, into a sum."""
        return any(op.kind == "add" for each in self._same(name) for op, _ in self._users(each))

    def _same(self, name: str) -> Collection[str]:
        """A tensor, and what it was before it was moved about."""
        return {name, self._source(name)[1]}
