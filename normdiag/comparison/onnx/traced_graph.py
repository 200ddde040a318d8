"""An ONNX graph in onnxruntime, with any of its tensors as outputs, and any of them as inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from normdiag.graph.importers.onnx import op_graph
from normdiag.observe.onnx.feed import graph_inputs, make_feed
from normdiag.observe.onnx.session import Session, Setting
from normdiag.observe.onnx.weights import split_weights
from normdiag.records import Batch, InputSpec, Model, OpGraph
from normdiag.records.model import Array

_REPLACED = "/normdiag_replaced"


class TracedGraph:
    """Satisfies `normdiag.comparison.traced.TracedModel`."""

    def __init__(self, model: Model) -> None:
        """`model` is an ONNX model as `open_model` returns it. Raises InputError where its graph contradicts itself."""
        self._program, self._where = model.program, model.info.path or "the model"
        program = self._program
        self.graph: OpGraph = op_graph(program.proto, program.reader, program.sites, program.view)
        feeding = program.feeding
        unfed = {*feeding.constants, *(state.name for state in feeding.states if state.output is None)}
        self.inputs: tuple[InputSpec, ...] = tuple(each for each in program.inputs if each.name not in unfed)
        skeleton = split_weights(self._program.proto, self._program.reader)
        self._proto = skeleton.proto
        self._setting = Setting(self._program.folder, self._where, skeleton.weights)
        self._sessions: dict[tuple[tuple[str, ...], tuple[str, ...]], Session] = {}

    @cached_property
    def present(self) -> frozenset[str]:
        """What nodes of the main graph write, and its inputs."""
        graph = self._proto.graph
        return frozenset((*(each.name for each in graph.input), *(name for node in graph.node for name in node.output)))

    def run(
        self, batch: Batch, wanted: Sequence[str], replaced: Mapping[str, Array] | None = None
    ) -> Mapping[str, Array]:
        """The wanted tensors of floating-point numbers. Raises InputError where the model cannot run on the batch."""
        replaced, names = replaced or {}, tuple(dict.fromkeys(wanted))
        inputs, feeding = graph_inputs(self._proto, self._where), self._program.feeding
        feed = make_feed(inputs, batch, self._where, feeding)
        session = self._session(names, replaced)
        values = session.run(names, {**feed, **replaced})
        return {name: value for name, value in values.items() if _is_float(value)}

    def _session(self, wanted: tuple[str, ...], replaced: Mapping[str, Array]) -> Session:
        """The last one is kept: batches ask for the same tensors again."""
        key = (wanted, tuple(replaced))
        if key not in self._sessions:
            self._sessions = {key: Session(self._edited(wanted, replaced), self._setting, optimize=False)}
        return self._sessions[key]

    def _edited(self, wanted: Iterable[str], replaced: Mapping[str, Array]) -> Any:
        import onnx

        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        for node in proto.graph.node:
            node.output[:] = [name + _REPLACED if name in replaced else name for name in node.output]
        for name, value in replaced.items():
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
            proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        present = {each.name for each in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in present)
        return proto


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")
