"""Running the original and the folded model in onnxruntime with all optimizations off."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.models.onnx import wire
from normdiag.models.onnx.parse import parse_model
from normdiag.observe.onnx.feed import graph_inputs, make_feed
from normdiag.observe.onnx.ort import import_onnxruntime
from normdiag.observe.onnx.session import Session, Setting
from normdiag.observe.onnx.weights import is_large, reference
from normdiag.records import Batch
from normdiag.records.model import Array
from normdiag.writing.onnx.data_files import joined, made_tensors, spans
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.patch import Items, Patch, collect, render
from normdiag.writing.onnx.write import write_model

_FLOATS = frozenset({1, 10, 11, 16})
# Bytes of weights that may be held in memory a second time.
_IN_MEMORY = 2**28


class OnnxEvaluator:
    """A patched model in a session; satisfies normdiag.folding.backend.Evaluator."""

    def __init__(self, source: Original, patch: Patch, tensors: Sequence[str] = ()) -> None:
        """`tensors` are returned beside the outputs. Raises InputError where onnxruntime refuses the model."""
        import onnx

        self._where = str(source.path)
        proto, setting = self._prepared(source, patch)
        self._inputs = graph_inputs(proto, self._where)
        self._tensors = frozenset(tensors)
        self._wanted = list(dict.fromkeys((*float_outputs(proto), *tensors)))
        present = {each.name for each in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._wanted if name not in present)
        self._session = Session(proto, setting, optimize=False)

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Every floating-point output of the graph, and the tensors that were asked for, by name.

        Raises InputError where the model cannot run on this batch.
        """
        values = self._session.run(self._wanted, make_feed(self._inputs, batch, self._where))
        return {name: value for name, value in values.items() if name in self._tensors or is_float(value)}

    def _prepared(self, source: Original, patch: Patch) -> tuple[Any, Setting]:
        """A model without its large weights, and where these are.

        onnxruntime copies weights that it is handed, but maps those in files: a large model goes into a folder of its
        own, which lasts as long as this object.
        """
        import onnx

        lean = sum(each.end - each.start for each in joined(spans(source))) > _IN_MEMORY
        if lean and sum(tensor.nbytes for tensor in made_tensors(patch)) > _IN_MEMORY:
            self._folder = tempfile.TemporaryDirectory(prefix="normdiag-", ignore_cleanup_errors=True)
            path = Path(self._folder.name) / "model.onnx"
            write_model(source, patch, path)
            return parse_model(path), Setting(path.parent, self._where, {}, lean)
        small, weights = _apart(source, patch)
        proto = onnx.ModelProto.FromString(collect(render(source, small)))
        return proto, Setting(source.path.parent, self._where, weights, lean)


def float_outputs(proto: Any) -> list[str]:
    """Outputs that are tensors of floating-point numbers, and those whose type is not stated."""
    outputs = [each for each in proto.graph.output if each.type.WhichOneof("value") in (None, "tensor_type")]
    return [each.name for each in outputs if each.type.tensor_type.elem_type in (0, *_FLOATS)]


def is_float(value: Any) -> bool:
    """Whether it is an array of floating-point numbers, bfloat16 among them."""
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")


def _apart(source: Original, patch: Patch) -> tuple[Patch, Mapping[str, Any]]:
    """The patch with the large weights that lie inside the file replaced by references, and these by name."""
    weights: dict[str, Any] = {}

    def apart(name: str, data_type: int, dims: Sequence[int], array: Array) -> Any:
        weights[name] = import_onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
        return reference(name, data_type, dims)

    def references(items: Items) -> Items:
        return tuple(
            apart(item.name, item.data_type, item.dims, item.read())
            if isinstance(item, NewTensor) and is_large(item.data_type, item.dims)
            else item
            for item in items
        )

    graph = {key: references(items) for key, items in patch.graph.items()}
    for i, tensor in enumerate(source.proto.graph.initializer):
        inside = tensor.data_location == tensor.DEFAULT and (wire.INITIALIZER, i) not in graph
        if inside and is_large(tensor.data_type, tensor.dims):
            array = source.reader.array(tensor)
            graph[wire.INITIALIZER, i] = (apart(tensor.name, tensor.data_type, tensor.dims, array),)
    added = {number: references(items) for number, items in patch.added.items()}
    return Patch(graph, added, patch.model), weights
