"""Running the original and the folded model in onnxruntime with all optimizations off."""

from __future__ import annotations

import io
import math
import mmap
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import numpy as np

from normdiag.fold.onnx import wire
from normdiag.fold.onnx.patch import Items, Patch, collect, render
from normdiag.fold.onnx.source import Source
from normdiag.fold.onnx.tensors import NewTensor
from normdiag.observe.onnx.feed import graph_inputs, make_feed
from normdiag.observe.onnx.ort import import_onnxruntime
from normdiag.observe.onnx.session import Session, Setting
from normdiag.records import Batch
from normdiag.records.model import Array

# Smaller tensors stay in the graph.
_LEAST_ELEMENTS = 1024
# float, uint8, int8, int32, int64, half, double: what numpy holds without help.
_PLAIN_TYPES = frozenset({1, 2, 3, 6, 7, 10, 11})
_FLOATS = frozenset({1, 10, 11, 16})
# Where the graph says that weights are which onnxruntime gets from us.
_PLACEHOLDER = "normdiag-in-memory"
# New weights beyond this many bytes wait in a temporary file.
_IN_MEMORY = 2**28


class OnnxEvaluator:
    """A patched model in a session; satisfies normdiag.fold.backend.Evaluator."""

    def __init__(self, source: Source, patch: Patch, tensors: Sequence[str] = ()) -> None:
        """`tensors` are returned beside the outputs. Raises InputError where onnxruntime refuses the model."""
        import onnx

        small, weights = _apart(source, patch)
        proto = onnx.ModelProto.FromString(collect(render(source, small)))
        self._where = str(source.path)
        self._inputs = graph_inputs(proto, self._where)
        self._wanted = list(dict.fromkeys((*_float_outputs(proto), *tensors)))
        present = {each.name for each in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._wanted if name not in present)
        self._session = Session(proto, Setting(source.path.parent, self._where, weights), optimize=False)

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Every floating-point output of the graph, and the tensors that were asked for, by name.

        Raises InputError where the model cannot run on this batch.
        """
        return self._session.run(self._wanted, make_feed(self._inputs, batch, self._where))


def _float_outputs(proto: Any) -> list[str]:
    """Outputs of unknown type count as well: onnxruntime knows them."""
    types = {each.name: each.type.tensor_type.elem_type for each in proto.graph.output}
    return [name for name, kind in types.items() if kind in _FLOATS or kind == 0]


def _apart(source: Source, patch: Patch) -> tuple[Patch, Mapping[str, Any]]:
    """The patch with the large weights that lie inside the file replaced by references, and these by name."""
    store = _Store()

    def reference(item: Any) -> Any:
        if not isinstance(item, NewTensor) or item.data_type not in _PLAIN_TYPES or not _is_large(item.dims):
            return item
        store.add(item)
        return _reference(item.name, item.data_type, item.dims)

    def references(items: Items) -> Items:
        return tuple(reference(item) for item in items)

    graph = {key: references(items) for key, items in patch.graph.items()}
    for i, tensor in enumerate(source.proto.graph.initializer):
        inside = tensor.data_location == tensor.DEFAULT and tensor.data_type in _PLAIN_TYPES
        if inside and _is_large(tensor.dims) and (wire.INITIALIZER, i) not in graph:
            store.add(NewTensor(tensor.name, tensor.data_type, tuple(tensor.dims), _reader(source, tensor)))
            graph[wire.INITIALIZER, i] = (_reference(tensor.name, tensor.data_type, tensor.dims),)
    added = {number: references(items) for number, items in patch.added.items()}
    return Patch(graph, added, patch.model), store.values


def _is_large(dims: Sequence[int]) -> bool:
    return math.prod(dims) >= _LEAST_ELEMENTS


def _reader(source: Source, tensor: Any) -> Callable[[], Array]:
    return lambda: source.reader.array(tensor)


def _reference(name: str, data_type: int, dims: Sequence[int]) -> Any:
    import onnx

    tensor = onnx.TensorProto(name=name, data_type=data_type, dims=dims, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=_PLACEHOLDER)
    return tensor


class _Store:
    """Weights as onnxruntime.OrtValue by name: in memory up to a limit, then in a temporary file that is mapped."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._size = 0
        self._file: IO[bytes] | None = None

    def add(self, tensor: NewTensor) -> None:
        array = np.ascontiguousarray(tensor.read())
        self._size += array.nbytes
        if self._size > _IN_MEMORY:
            array = self._mapped(array)
        self.values[tensor.name] = import_onnxruntime().OrtValue.ortvalue_from_numpy(array)

    def _mapped(self, array: Array) -> Array:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="normdiag-")  # noqa: SIM115  (the maps keep it alive)
        offset = -(-self._file.seek(0, io.SEEK_END) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(offset)
        self._file.write(array.reshape(-1).view(np.uint8).data)
        self._file.flush()
        return np.memmap(self._file, array.dtype, "r+", offset, array.shape)
