"""The models that the fold benchmark runs on: torchvision-like nets, third-party files, and one of 1.1 GB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
THIRD_PARTY = {
    "ultraface slim": "ultraface/version-slim-320.onnx",
    "gtcrn": "gtcrn/stream_onnx_models_gtcrn_simple.onnx",
}
NETS = ("resnet50", "mobilenet_v2", "densenet121")


def write_nets(folder: Path) -> Iterator[tuple[str, Path]]:
    """The nets of benchmarks.nets with calibrated statistics, BatchNorm left in, each as it is written."""
    for name in NETS:
        path = folder / f"{name}.onnx"
        write_net(name, path)
        yield name, path
    for name, where in THIRD_PARTY.items():
        if (REAL / where).exists():
            yield name, REAL / where


def write_net(name: str, path: Path) -> None:
    """Calibrated, with BatchNorm left in and constants computed: the exporter makes up missing biases in the graph, and
    none of the other tools looks through that.
    """
    import onnx_ir
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    from benchmarks.inspect_onnx import export

    export(name, path, batch=1, image=224)
    model = onnx_ir.load(path)
    onnx_ir.external_data.load_to_model(model)
    fold_constants(model)
    remove_unused_nodes(model)
    onnx_ir.save(model, path)


def write_large(path: Path, width: int = 8192, layers: int = 4) -> None:
    """MatMul + Add + BatchNormalization + Relu, `layers` times: width^2 * layers * 4 bytes, embedded."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes, tensors, x = [], [], "x"

    def constant(name: str, values: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    for i in range(layers):
        weight = constant(f"w{i}", rng.standard_normal((width, width), np.float32) / np.float32(np.sqrt(width)))
        bias = constant(f"b{i}", rng.standard_normal(width))
        norm = [constant(f"{p}{i}", rng.uniform(0.5, 1.5, width)) for p in ("gamma", "beta", "mean", "var")]
        nodes += [
            helper.make_node("MatMul", [x, weight], [f"mm{i}"]),
            helper.make_node("Add", [f"mm{i}", bias], [f"fc{i}"]),
            helper.make_node("BatchNormalization", [f"fc{i}", *norm], [f"bn{i}"]),
            helper.make_node("Relu", [f"bn{i}"], [f"y{i}"]),
        ]
        x = f"y{i}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", width])]
    graph = helper.make_graph(nodes, "large", inputs, outputs, tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
