"""Running ONNX models without the code under test, and what any folded model must still be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv_transpose import ConvTranspose as UngroupedConvTranspose

from tests.nets.onnx.net import NUMPY, TYPES, Array
from tests.nets.onnx.values import session

# Rounding of a few layers of at most a few hundred terms: about 1e-6 in float32, ten times that where the mean of a
# norm cancels most of its input; a hundredth of what the smallest wrong edit does. In float64 there is far more room.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "float16": 2e-2, "bfloat16": 1e-1}
BATCHES = (1, 2)
MAGNITUDES = (1.0, 20.0)
_NAMES = {number: name for name, number in TYPES.items()}


def free_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    known = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in known]


def feeds(model: onnx.ModelProto, seed: int = 0) -> Iterator[dict[str, Array]]:
    """Random inputs: several batch sizes (where the batch is free) and magnitudes."""
    rng = np.random.default_rng(seed)
    for batch, magnitude in zip(BATCHES, MAGNITUDES, strict=True):
        feed = {}
        for value in free_inputs(model):
            shape = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
            kind = value.type.tensor_type.elem_type
            if kind == onnx.TensorProto.BOOL:
                feed[value.name] = np.full(shape, batch == 1)
            else:
                feed[value.name] = rng.normal(0.3, magnitude, shape).astype(NUMPY[_NAMES[kind]])
        yield feed


class ConvTranspose(OpRun):
    """onnx.reference fails on most numbers of groups: one group after the other."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, group: int = 1, **options: object) -> tuple[Array]:
        run = UngroupedConvTranspose(self.onnx_node, self.run_params)._run
        parts = zip(np.split(x, group, 1), np.split(w, group, 0), strict=True)
        y = np.concatenate([run(part, weight, None, group=1, **options)[0] for part, weight in parts], 1)
        return (y if b is None else y + b.reshape(-1, *[1] * (y.ndim - 2)),)


class BatchNormalization(OpRun):
    """onnx.reference takes the statistics of the batch before operator set 14."""

    op_domain = ""

    def _run(
        self, x: Array, *parameters: Array, epsilon: float = 1e-5, training_mode: int = 0, **_: object
    ) -> tuple[Array]:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        gamma, beta, mean, var = (p.reshape(-1, *[1] * (x.ndim - 2)).astype(x.dtype) for p in parameters)
        if training_mode:
            mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (((x - mean) / np.sqrt(var + epsilon) * gamma + beta).astype(x.dtype),)


OVERRIDES = [BatchNormalization, ConvTranspose]


class Runner:
    """A model under onnxruntime without optimizations, or under onnx.reference where `exact`."""

    def __init__(self, model: onnx.ModelProto, exact: bool) -> None:
        self.run = (ReferenceEvaluator(model, new_ops=OVERRIDES) if exact else session(model)).run
        self.names = [value.name for value in model.graph.output]

    def __call__(self, feed: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self.names, self.run(None, feed), strict=True))


def same_outputs(original: onnx.ModelProto, folded: onnx.ModelProto, dtype: str, floor: float = 0.0) -> None:
    """Both compute the same: float32 and narrower under onnxruntime, float64 and bfloat16 under onnx.reference.

    `floor`: what max|y| is taken to be at least, for outputs that a nonlinearity has cut to nearly nothing.
    """
    exact = dtype in ("float64", "bfloat16")
    before, after = Runner(original, exact), Runner(folded, exact)
    for feed in feeds(original):
        expected, got = before(feed), after(feed)
        assert list(expected) == list(got)
        for name, values in expected.items():
            assert values.dtype == got[name].dtype, name
            close(got[name], values, TOLERANCE[dtype], name, floor)


def close(got: Array, expected: Array, tolerance: float, what: str = "", floor: float = 0.0) -> None:
    """max|got - expected| is at most the tolerance times max|expected|, or times the floor."""
    assert got.shape == expected.shape, what
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    assert np.isfinite(expected).all(), f"{what}: the case itself overflows"
    error = np.abs(got - expected).max(initial=0) / max(np.abs(expected).max(initial=0), floor, 1e-30)
    assert error <= tolerance, f"{what}: relative error {error:.3g}"


def operators(model: onnx.ModelProto) -> str:
    return " ".join(node.op_type for node in model.graph.node if node.op_type != "Constant")


def still_the_same_file(original: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Everything that folding has no business with is as it was."""
    for part in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(original, part) == getattr(folded, part), part
    for part in ("opset_import", "metadata_props", "functions"):
        assert list(getattr(original, part)) == list(getattr(folded, part)), part
    before, after = original.graph, folded.graph
    assert (before.name, before.doc_string, list(before.output)) == (after.name, after.doc_string, list(after.output))
    assert list(free_inputs(original)) == list(free_inputs(folded))
    _same_nodes(original, folded)
    _no_litter(original, folded)


def _same_nodes(original: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Each node that is left is the old one but for its tensors' names; the order is the old one."""
    known = {node.name: (i, node) for i, node in enumerate(original.graph.node)}
    order = []
    for node in folded.graph.node:
        if node.name not in known:
            assert node.op_type in ("Add", "Mul", "Constant"), f"a new {node.op_type}"
            continue
        index, old = known[node.name]
        if old.op_type == node.op_type:
            order.append(index)
            if node.op_type not in ("Gemm", "Constant"):  # alpha and beta go into the parameters
                assert sorted(old.attribute, key=lambda a: a.name) == sorted(node.attribute, key=lambda a: a.name)
            assert (old.domain, old.doc_string) == (node.domain, node.doc_string)
    assert order == sorted(order)
    names = Counter(node.name for node in folded.graph.node if node.name)
    assert not [name for name, times in names.items() if times > 1]


def _no_litter(original: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """No parameter is left that nobody reads, unless nobody read it before; nothing is written twice."""
    unread_before, unread = (_unread(model) for model in (original, folded))
    assert unread <= unread_before, f"left behind: {unread - unread_before}"
    written = Counter(name for node in folded.graph.node for name in node.output if name)
    written.update(tensor.name for tensor in folded.graph.initializer)
    assert not [name for name, times in written.items() if times > 1]


def _unread(model: onnx.ModelProto) -> set[str]:
    read = set(_reads(model.graph)) | {value.name for value in model.graph.output}
    written = {tensor.name for tensor in model.graph.initializer}
    written |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    return written - read


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _reads(inner)
                yield from (value.name for value in inner.output)
