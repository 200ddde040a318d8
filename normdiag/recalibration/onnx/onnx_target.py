"""An ONNX file that can be recalibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.models.onnx import NormSite, OnnxProgram, wire
from normdiag.observe.onnx import OnnxRunner
from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.recalibration.onnx.graph_edit import StatisticsEdit, running_outputs_used, statistics_edit
from normdiag.records import Model, ModelInfo, NormLayer
from normdiag.writing.onnx.new_tensor import constant
from normdiag.writing.onnx.original import Original, read_original
from normdiag.writing.onnx.patch import Items, Patch
from normdiag.writing.onnx.write import write_model

OPERATOR = "BatchNormalization"
_INPUTS_HOLD_INITIALIZERS = 4  # before this version of the format every initializer is listed as an input


class OnnxTarget:
    """Satisfies normdiag.recalibration.target.Recalibratable. The file is read once and never changed."""

    def __init__(self, model: Model) -> None:
        """`model` was read from a file, with its layers."""
        assert model.info.path is not None
        self._model, self._program = model, model.program
        self._sites: dict[str, NormSite] = {site.layer.name: site for site in self._program.sites}
        self._original = read_original(Path(model.info.path))

    @property
    def info(self) -> ModelInfo:
        """Where it came from."""
        return self._model.info

    @cached_property
    def runner(self) -> Runner:
        """The model as it is."""
        return OnnxRunner(self._model)

    def obstacle(self, layer: NormLayer) -> str | None:
        """Why its statistics cannot be replaced: it is no single node of the main graph, or more hangs on it."""
        site = self._sites[layer.name]
        if layer.class_name != OPERATOR or len(site.nodes) != 1:
            return "the exporter took it apart, so that its statistics are mixed with its other parameters"
        node = next((n for n in self._original.proto.graph.node if site.output in n.output[:1]), None)
        if node is None:
            return "it stands inside a function of the model, or in a subgraph"
        if running_outputs_used(self._original.proto, node):
            return "it is in training mode, and the model reads the statistics that it updates"
        return None

    def converts(self, layer: NormLayer) -> bool:
        """Whether it was exported in training mode."""
        return bool(layer.training) and layer.class_name == OPERATOR

    def shared(self, layers: Sequence[NormLayer]) -> list[tuple[str, ...]]:
        """Layers that are one layer run several times: the same initializers in all places."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for layer in layers:
            nodes = self._sites[layer.name].nodes
            names = tuple(self._program.proto.graph.node[nodes[0]].input[1:5]) if nodes else ()
            groups.setdefault(names or (layer.name,), []).append(layer.name)
        return [tuple(names) for names in groups.values() if len(names) > 1]

    def changed(self, statistics: Mapping[str, ReplacedStatistics]) -> Runner:
        """A copy with these statistics, nodes in training mode put into evaluation mode."""
        return OnnxRunner(replace(self._model, program=self._changed_program(statistics)))

    def write(self, statistics: Mapping[str, ReplacedStatistics], target: Path) -> tuple[str, ...]:
        """Write it, whole or not at all; notes on data files that belong to it."""
        edit = self._edit(self._original.proto, statistics)
        return write_model(self._original, _patch(self._original, edit), target)

    def result(self, statistics: Mapping[str, ReplacedStatistics]) -> Any:
        """An onnx.ModelProto with these statistics, its weights inside but for external data."""
        program = self._changed_program(statistics)
        for tensor in program.proto.graph.initializer:
            program.reader.complete(tensor)
        return program.proto

    def _changed_program(self, statistics: Mapping[str, ReplacedStatistics]) -> OnnxProgram:
        import onnx
        from onnx import numpy_helper

        edit, proto = self._edit(self._program.proto, statistics), onnx.ModelProto()
        proto.CopyFrom(self._program.proto)
        for index, node in edit.nodes.items():
            proto.graph.node[index].CopyFrom(node)
        for tensor in proto.graph.initializer:
            if tensor.name in edit.values:
                tensor.CopyFrom(numpy_helper.from_array(edit.values[tensor.name], tensor.name))
        proto.graph.initializer.extend(numpy_helper.from_array(each, name) for name, each in edit.added.items())
        embedded = {name: at for name, at in self._program.reader.embedded.items() if name not in edit.values}
        program: OnnxProgram = self._program
        return replace(
            program,
            proto=proto,
            reader=replace(self._program.reader, embedded=embedded),
            sites=tuple(_site(site, statistics.get(site.layer.name)) for site in self._program.sites),
        )

    def _edit(self, proto: Any, statistics: Mapping[str, ReplacedStatistics]) -> StatisticsEdit:
        wanted = {self._sites[name].output: each for name, each in statistics.items()}
        dtypes = {self._sites[name].output: _dtype(self._sites[name].layer) for name in statistics}
        return statistics_edit(proto, wanted, dtypes)


def _dtype(layer: NormLayer) -> np.dtype[Any]:
    known = layer.running_var if layer.running_var is not None else layer.gamma
    return np.dtype(np.float32) if known is None else known.dtype


def _site(site: NormSite, statistics: ReplacedStatistics | None) -> NormSite:
    if statistics is None:
        return site
    dtype = _dtype(site.layer)
    mean, var = statistics.mean.astype(dtype), statistics.var.astype(dtype)
    return replace(site, layer=replace(site.layer, running_mean=mean, running_var=var, training=False), obstacle=None)


def _patch(original: Original, edit: StatisticsEdit) -> Patch:
    from onnx import helper

    proto = original.proto
    items: dict[tuple[int, int], Items] = {(wire.NODE, index): (node,) for index, node in edit.nodes.items()}
    for index, tensor in enumerate(proto.graph.initializer):
        if tensor.name in edit.values:
            items[wire.INITIALIZER, index] = (constant(edit.values[tensor.name]).named(tensor.name, tensor),)
    added = tuple(constant(each).named(name) for name, each in edit.added.items())
    listed = proto.ir_version < _INPUTS_HOLD_INITIALIZERS
    inputs = [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in added if listed]
    return Patch(items, {wire.INITIALIZER: added, wire.INPUT: tuple(inputs)})
