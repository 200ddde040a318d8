"""What the tensors of an ONNX model are, by plain onnxruntime without optimizations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

Array = NDArray[Any]


def session(model: onnx.ModelProto | Path, folder: Path | None = None) -> onnxruntime.InferenceSession:
    """Of a file or a model, whose external data lies in `folder`."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def outputs_of(
    model: onnx.ModelProto | Path, feeds: Mapping[str, Array], folder: Path | None = None
) -> dict[str, Array]:
    """All outputs."""
    run = session(model, folder)
    names = [output.name for output in run.get_outputs()]
    return dict(zip(names, run.run(names, dict(feeds)), strict=True))


def values_of(
    model: onnx.ModelProto | Path, names: Collection[str], feeds: Mapping[str, Array], folder: Path | None = None
) -> dict[str, Array]:
    """Any tensors of the main graph."""
    whole = onnx.ModelProto()
    whole.CopyFrom(onnx.load(model) if isinstance(model, Path) else model)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in feeds)
    return {**{name: feeds[name] for name in names if name in feeds}, **outputs_of(whole, feeds, folder)}


def random_feeds(model: onnx.ModelProto, dims: Mapping[str, int] | None = None, seed: int = 3) -> dict[str, Array]:
    """Random inputs; `dims` are the sizes of free dimensions, 3 where not given."""
    rng = np.random.default_rng(seed)
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in stored:
            tensor = value.type.tensor_type
            shape = [dim.dim_value or (dims or {}).get(dim.dim_param, 3) for dim in tensor.shape.dim]
            feeds[value.name] = rng.normal(size=shape).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds
