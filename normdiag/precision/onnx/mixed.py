"""An ONNX model in half precision, but for some of its norms, run in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from normdiag.errors import InputError
from normdiag.models.onnx import NormSite
from normdiag.observe.onnx.edit import GraphEdit
from normdiag.observe.onnx.prepared import PreparedGraph
from normdiag.observe.onnx.session import Session, tensor_types
from normdiag.precision.onnx.rounded_graph import rounded_graph
from normdiag.records import Batch
from normdiag.records.model import Array
from normdiag.records.precision import Half

NAMES = {"fp16": "float16", "bf16": "bfloat16"}
_HALF = frozenset({"tensor(float16)", "tensor(bfloat16)"})


class MixedGraph:
    """Satisfies `normdiag.precision.mixed.MixedModel`.

    Every operator computes in float32, and what it writes is rounded to the format: kernels that accumulate in float32
    and store in half precision give that. onnxruntime's own float16 kernels on the CPU would not, since they keep whole
    chains of operators in float32 and hide what overflows between them.
    """

    def __init__(self, graph: PreparedGraph, target: Half) -> None:
        """Raises InputError for a graph that holds half precision already, or that onnxruntime refuses."""
        self._graph, self._target = graph, target
        sites = (*graph.plan.batch_norms, *graph.plan.groups)
        self._sites: Mapping[str, NormSite] = {site.layer.name: site for site in sorted(sites, key=_first_node)}
        written = [name for node in graph.proto.graph.node for name in node.output if name]
        types = tensor_types(graph.proto, written, graph.setting)
        if any(kind.element in _HALF for kind in types.values()):
            where = graph.setting.where
            raise InputError(f"{where}: computes in half precision already; give the model as it was in float32")
        self._types = types
        self._outputs = tuple(each.name for each in graph.proto.graph.output)

    @property
    def where(self) -> str:
        """That every operator's output is rounded."""
        return f"onnxruntime on the CPU, every tensor rounded to {NAMES[self._target]}"

    @property
    def norms(self) -> tuple[str, ...]:
        """The norms of the main graph."""
        return tuple(self._sites)

    def nodes(self, norm: str) -> tuple[str, ...]:
        """The names of its nodes, empty where one has none."""
        return tuple(self._graph.proto.graph.node[index].name for index in self._sites[norm].nodes)

    def exact(self, batch: Batch) -> Mapping[str, Array]:
        """The outputs in float32, without any of onnxruntime's optimizations."""
        return self._exact.run(self._outputs, self._graph.feed(batch))

    def run(self, batch: Batch, kept: frozenset[str], *, stored_sums: bool) -> Mapping[str, Array]:
        """The outputs with every tensor rounded, but for those inside the kept norms."""
        sites = [self._sites[name] for name in self._sites if name in kept]
        summed = [site for name, site in self._sites.items() if name not in kept and stored_sums]
        proto = rounded_graph(self._graph.proto, self._types, sites, summed, self._target)
        session = Session(proto, self._graph.setting, optimize=False)
        return session.run(self._outputs, self._graph.feed(batch))

    def first_lost(self, batch: Batch) -> str | None:
        """The name of the node, or its operator and what it writes."""
        proto = rounded_graph(self._graph.proto, self._types, tuple(self._sites.values()), (), self._target)
        sums, edit = dict[str, str](), GraphEdit(proto)
        edit.slot = len(proto.graph.node)
        zero = edit.constant(0.0, np.float32)
        for node in self._graph.proto.graph.node:
            for name in (each for each in node.output if each and self._types[each].element == "tensor(float)"):
                nothing = edit.node("ReduceSum", edit.node("Mul", name, zero), keepdims=0)  # NaN for inf and NaN alone
                sums[edit.output(nothing)] = node.name or f"{node.op_type} that writes {name}"
        values = Session(edit.build(), self._graph.setting, optimize=False).run(list(sums), self._graph.feed(batch))
        return next((sums[name] for name, value in values.items() if np.isnan(value).any()), None)

    @cached_property
    def _exact(self) -> Session:
        return Session(self._graph.proto, self._graph.setting, optimize=False)


def _first_node(site: NormSite) -> int:
    return min(site.nodes)
