"""Small ONNX models for the tests of the applier, and folding them through files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from normdiag.folding.onnx import OnnxFoldable
from normdiag.folding.plan import plan_folds
from normdiag.records import FoldPlan
from normdiag.records.model import Array

node = helper.make_node


def weights(**shapes: tuple[int, ...]) -> list[TensorProto]:
    """Random float32 initializers; variances, whose names end in 'var', are positive."""
    rng = np.random.default_rng(len(shapes))
    values = {name: rng.normal(0.2, 1.0, shape).astype(np.float32) for name, shape in shapes.items()}
    return [numpy_helper.from_array(np.abs(v) + 0.5 if k.endswith("var") else v, k) for k, v in values.items()]


def norm_weights(prefix: str, channels: int) -> list[TensorProto]:
    return weights(**{f"{prefix}_{part}": (channels,) for part in ("gamma", "beta", "mean", "var")})


def batch_norm(x: str, y: str, prefix: str = "bn") -> onnx.NodeProto:
    return node(
        "BatchNormalization", [x, *(f"{prefix}_{part}" for part in ("gamma", "beta", "mean", "var"))], [y], name=prefix
    )


def value(name: str, shape: Sequence[int | str] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[TensorProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Iterable[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """An opset 17 model of IR version 9; the shapes of the outputs are inferred."""
    graph = helper.make_graph(nodes, "g", inputs, [value(name, None) for name in outputs], initializers)
    opsets = [helper.make_opsetid("", opset)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    inferred = onnx.shape_inference.infer_shapes(proto)
    del proto.graph.output[:]
    proto.graph.output.extend(inferred.graph.output)
    return proto


def conv_norm(channels: int = 4, size: int = 6) -> onnx.ModelProto:
    """x -> Conv -> BatchNormalization -> Relu -> y."""
    return model(
        [node("Conv", ["x", "w"], ["c"], name="conv"), batch_norm("c", "n"), node("Relu", ["n"], ["y"], name="act")],
        [*weights(w=(channels, 3, 3, 3)), *norm_weights("bn", channels)],
        [value("x", ["N", 3, size, size])],
    )


def save(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def fold_file(source: Path, target: Path, norms: frozenset[str] = frozenset({"batch"})) -> FoldPlan:
    """Plan, apply and write."""
    foldable = OnnxFoldable(source)
    plan = plan_folds(foldable.graph, norms)
    foldable.fold(plan).write(target)
    return plan


def folded(
    proto: onnx.ModelProto, folder: Path, steps: int, norms: frozenset[str] = frozenset({"batch"})
) -> onnx.ModelProto:
    """The folded model, after the checks that every one must pass; `steps` is how many norms go."""
    source, target = save(proto, folder / "in.onnx"), folder / "out.onnx"
    plan = fold_file(source, target, norms)
    assert len(plan.steps) == steps, plan.refusals
    result = onnx.load(target)
    onnx.checker.check_model(proto, full_check=True)
    onnx.checker.check_model(result, full_check=True)
    assert list(result.graph.output) == list(proto.graph.output)
    same(source, target)
    return result


def same(source: Path, target: Path) -> None:
    """Both files give the same outputs in onnxruntime."""
    before, after = outputs(source), outputs(target)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


def outputs(path: Path, seed: int = 0) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    feed = {
        each.name: rng.normal(0, 1, [d if isinstance(d, int) else 2 for d in each.shape]).astype(np.float32)
        for each in session.get_inputs()
    }
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def initializer(proto: onnx.ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def names(proto: onnx.ModelProto) -> list[str]:
    return [tensor.name for tensor in proto.graph.initializer]


def operators(proto: onnx.ModelProto) -> list[str]:
    return [each.op_type for each in proto.graph.node]
