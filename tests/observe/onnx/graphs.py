"""Hand-built ONNX models, and the values of any of their tensors by plain onnxruntime without optimizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from normdiag.graph import open_model
from normdiag.observe.onnx import OnnxRunner

NEWEST = 23  # onnxruntime's newest released operator set when this was written
TYPES = {"float32": 1, "float64": 11, "float16": 10, "bfloat16": 16, "int64": 7, "int32": 6}
Shape = Sequence[int | str]


def write(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray],
    *,
    opset: int = 17,
    dtype: str = "float32",
    ir: int = 8,
) -> Path:
    """Save a model; inputs are of `dtype`. Before IR version 4 the weights are listed as inputs too."""
    values = [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, shape in inputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    if ir < 4:
        values += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(nodes, "g", values, [onnx.ValueInfoProto(name=name) for name in outputs], tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def runner(path: Path, **options: float) -> OnnxRunner:
    return OnnxRunner(open_model(path), **options)


def values(path: Path, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Whole tensors of a model, by plain onnxruntime."""
    model = onnx.load(path)
    model.graph.output.extend(
        onnx.ValueInfoProto(name=n) for n in names if n not in [o.name for o in model.graph.output]
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return dict(zip(names, session.run(list(names), dict(feed)), strict=True))


def norm_weights(channels: int, prefix: str = "bn", dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """gamma, beta, mean and variance of a BatchNorm."""
    rng = np.random.default_rng(seed)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    arrays = (
        rng.uniform(0.5, 1.5, channels),
        rng.normal(0, 0.2, channels),
        rng.normal(0, 0.5, channels),
        rng.uniform(0.5, 2.0, channels),
    )
    return {f"{prefix}.{n}": a.astype(kind) for n, a in zip(("weight", "bias", "mean", "var"), arrays, strict=True)}


def batch_norm(x: str, y: str, prefix: str = "bn", **attributes: float) -> onnx.NodeProto:
    names = [f"{prefix}.{n}" for n in ("weight", "bias", "mean", "var")]
    outputs = [y, f"{y}.mean", f"{y}.var"] if attributes.get("training_mode") else [y]
    return helper.make_node("BatchNormalization", [x, *names], outputs, name=prefix, **({"epsilon": 1e-5} | attributes))


def moments(x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per sample and channel the means of (x - mean) and (x - mean)^2 in float64."""
    shifted = x.astype(np.float64) - mean.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))
    flat = shifted.reshape(*x.shape[:2], -1)
    return flat.mean(2), (flat**2).mean(2)
