"""Small ONNX models out of nodes, with random parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Shape = Sequence[int | str | None]
TYPES = {"float32": 1, "float64": 11, "float16": 10, "bfloat16": 16, "int64": 7, "int32": 6}
PARTS = ("weight", "bias", "mean", "var")
node = helper.make_node


def value(name: str, shape: Shape | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """What a file says of one of its tensors."""
    return helper.make_tensor_value_info(name, kind, shape)


def from_nodes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    weights: Mapping[str, Any],
    *,
    opset: int = 17,
    dtype: str = "float32",
    ir: int = 8,
) -> onnx.ModelProto:
    """Inputs are of `dtype`; what outputs are is inferred. Before IR version 4 the weights are inputs too."""
    values = [value(name, shape, TYPES[dtype]) for name, shape in inputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    if ir < 4:
        values += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(nodes, "g", values, [onnx.ValueInfoProto(name=name) for name in outputs], tensors)
    used = {node.domain for node in nodes} - {""}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(used))]
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir)
    known = onnx.shape_inference.infer_shapes(made).graph.output
    del made.graph.output[:]
    made.graph.output.extend(known)
    return made


def save(made: onnx.ModelProto, path: Path) -> Path:
    """The path, where the model now is."""
    path.write_bytes(made.SerializeToString())
    return path


def write(folder: Path, *parts: Any, **options: Any) -> Path:
    """Such a model in a folder: `parts` and `options` are those of `model`."""
    return save(from_nodes(*parts, **options), folder / "model.onnx")


def normal(**shapes: tuple[int, ...]) -> dict[str, Array]:
    """Random float32 weights."""
    rng = np.random.default_rng(len(shapes))
    return {name: rng.normal(0.2, 1.0, shape).astype(np.float32) for name, shape in shapes.items()}


def norm_weights(channels: int, prefix: str = "bn", dtype: str = "float32", seed: int = 0) -> dict[str, Array]:
    """gamma, beta, mean and variance of a BatchNorm."""
    rng = np.random.default_rng(seed)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    arrays = (
        rng.uniform(0.5, 1.5, channels),
        rng.normal(0, 0.2, channels),
        rng.normal(0, 0.5, channels),
        rng.uniform(0.5, 2.0, channels),
    )
    return {f"{prefix}.{part}": array.astype(kind) for part, array in zip(PARTS, arrays, strict=True)}


def batch_norm(x: str, y: str, prefix: str = "bn", **attributes: float) -> onnx.NodeProto:
    """A BatchNormalization of these weights, named after them."""
    names = [f"{prefix}.{part}" for part in PARTS]
    outputs = [y, f"{y}.mean", f"{y}.var"] if attributes.get("training_mode") else [y]
    return node("BatchNormalization", [x, *names], outputs, name=prefix, **({"epsilon": 1e-5} | attributes))


def conv_norm(channels: int = 4, size: int = 6) -> onnx.ModelProto:
    """x -> Conv -> BatchNormalization -> Relu -> y."""
    nodes = [node("Conv", ["x", "w"], ["c"], name="conv"), batch_norm("c", "n"), node("Relu", ["n"], ["y"], name="act")]
    weights = normal(w=(channels, 3, 3, 3)) | norm_weights(channels)
    return from_nodes(nodes, {"x": ["N", 3, size, size]}, ["y"], weights)


def norm_conv() -> onnx.ModelProto:
    """x -> Relu -> BatchNormalization -> Conv -> Relu -> y."""
    nodes = [
        node("Relu", ["x"], ["r"]),
        batch_norm("r", "n"),
        node("Conv", ["n", "w"], ["c"], name="conv"),
        node("Relu", ["c"], ["y"]),
    ]
    return from_nodes(nodes, {"x": ["N", 3, 6, 6]}, ["y"], normal(w=(4, 3, 3, 3)) | norm_weights(3))
