"""What an attacker might write: it ends in a graph or in an InputError, soon and in little memory."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from normdiag.errors import InputError
from normdiag.records import Linear, Opaque, ScaleShift
from tests.graph.importers.onnx.graph_checks import read
from tests.nets.onnx.text import from_text

DAMAGE = {
    "reads nothing": ("y", ["nobody"], "which nothing before it writes"),
    "reads itself": ("y", ["y"], "which nothing before it writes"),
    "reads what comes later": ("y", ["later"], "which nothing before it writes"),
    "writes its input": ("x", ["x"], "is there already"),
    "writes nothing": ("z", ["x"], "is written by no node"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_graphs(case: str) -> None:
    output, inputs, message = DAMAGE[case]
    model = from_text("g (float[N,4] x) => (y) { y = Relu(x) }")
    model.graph.node[0].input[:] = inputs
    model.graph.node[0].output[:] = [output]
    model.graph.node.append(helper.make_node("Relu", ["x"], ["later"]))
    with pytest.raises(InputError, match=message):
        read(model)


def test_two_writers() -> None:
    model = from_text("g (float[N,4] x) => (y) { y = Relu(x) }")
    model.graph.node.append(helper.make_node("Tanh", ["x"], ["y"]))
    with pytest.raises(InputError, match="is there already"):
        read(model)


@pytest.mark.parametrize(
    "body",
    [
        "a = Neg(x)  b = Mul(a, gamma4)  y = Add(b, gamma4)",
        "y = Split<axis=0, num_outputs=1099511627776>(z)",
        "y = Slice<starts=[0], ends=[4611686018427387904]>(z)",
        "y = Expand(z, huge)",
        "a = ConstantOfShape(huge)  y = Add(a, z)",
        "y = Tile(z, huge)",
    ],
)
def test_enormous_sizes(body: str) -> None:
    text = f"g (float[{','.join(['1'] * 80)}] x, float[4611686018427387904] z) => (y) {{ {body} }}"
    graph = read(from_text(text, 18, huge=np.array([2**62])))
    assert graph.outputs == ("y",)


def test_a_long_model_is_read_quickly() -> None:
    model = from_text("g (float[N,4] x) => (y) { y = Relu(x) }", gamma4=np.ones(4, np.float32))
    del model.graph.node[:]
    model.graph.initializer.extend(
        [helper.make_tensor("w", 1, [4, 4], np.eye(4).ravel()), helper.make_tensor("b", 1, [4], np.ones(4))]
    )
    for tensor in (np.eye(4, dtype=np.float32), np.ones(4, np.float32)):
        model.graph.initializer.append(numpy_helper.from_array(tensor, "w" if tensor.ndim == 2 else "b"))
    last = "x"
    for i in range(4000):
        op, operands = [("MatMul", ["w"]), ("Add", ["b"]), ("Relu", []), ("Mul", ["b"]), ("Sub", ["b"])][i % 5]
        model.graph.node.append(helper.make_node(op, [last, *operands], [f"t{i}"]))
        last = f"t{i}"
    model.graph.output[0].name = last
    start = time.perf_counter()
    graph = read(model)
    assert time.perf_counter() - start < 15
    assert len([op for op in graph.ops if isinstance(op.detail, Linear | ScaleShift)]) == 1600


BASE = from_text(
    "g (float[N,4,6,6] x) => (y) { a = Conv<pads=[1, 1, 1, 1]>(x, k)"
    "  b = BatchNormalization(a, gamma4, beta4, mean4, var4)"
    "  s = Shape(b)  n = Gather<axis=0>(s, zero_)  u = Unsqueeze(n, at)"
    "  t = Concat<axis=0>(u, rest)  c = Reshape(b, t)"
    "  d = MatMul(c, w)  e = Add(d, bias)  f = Mul(e, bias)  y = Dropout(f) }",
    k=np.ones((4, 4, 3, 3), np.float32),
    zero_=np.array(0),
    at=np.array([0]),
    rest=np.array([-1]),
    w=np.ones((144, 5), np.float32),
    bias=np.ones(5, np.float32),
).SerializeToString()


@settings(max_examples=150)
@given(st.data())
def test_mutations_end_in_a_graph_or_an_input_error(data: st.DataObject) -> None:
    """Attributes of other types, operands left out or exchanged, sizes that contradict each other."""
    model = onnx.ModelProto.FromString(BASE)
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(model, data)
    try:
        graph = read(model)
    except InputError:
        return
    for op in graph.ops:
        assert op.detail is not None
        if isinstance(op.detail, Opaque):
            assert op.detail.why


def _mutate(model: onnx.ModelProto, data: st.DataObject) -> None:
    graph = model.graph
    node = graph.node[data.draw(st.integers(0, len(graph.node) - 1))]
    if data.draw(st.booleans()):
        _mutate_node(graph, node, data)
    else:
        _mutate_data(model, data)


def _mutate_node(graph: onnx.GraphProto, node: onnx.NodeProto, data: st.DataObject) -> None:
    match data.draw(st.sampled_from(["attribute", "input", "drop", "operator", "output"])):
        case "attribute":
            name = data.draw(
                st.sampled_from(["axis", "pads", "group", "perm", "epsilon", "auto_pad", "strides", "axes"])
            )
            value = data.draw(st.sampled_from([2**62, -5, 1.5, "text", [1.5], [2**40] * 3, [-1], ["a"], 0]))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute(name, value))
        case "input":
            names = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output] + ["", "x"]
            node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from(names))
        case "drop":
            del node.input[data.draw(st.integers(0, len(node.input) - 1)) :]
            node.input.extend([] if node.input else ["x"])
        case "operator":
            names = ["Split", "Resize", "Slice", "Pad", "Gemm", "Squeeze", "Transpose", "AveragePool", "Gather", "Sum"]
            node.op_type = data.draw(st.sampled_from([*names, "ReduceMean", "ConvTranspose", "Concat", "Expand", "If"]))
        case "output":
            node.output[:] = data.draw(st.sampled_from([[], [""], ["y"], ["new", "y"]]))


def _mutate_data(model: onnx.ModelProto, data: st.DataObject) -> None:
    graph = model.graph
    tensor = graph.initializer[data.draw(st.integers(0, len(graph.initializer) - 1))]
    match data.draw(st.sampled_from(["dims", "type", "raw", "opset", "declared"])):
        case "dims":
            tensor.dims[:] = data.draw(st.lists(st.sampled_from([0, 1, 4, -1, 2**31]), max_size=5))
        case "type":
            tensor.data_type = data.draw(st.sampled_from([0, 1, 7, 8, 9, 10, 11, 16, 22, 99]))
        case "raw":
            tensor.raw_data = data.draw(st.binary(max_size=16))
        case "opset":
            model.opset_import[0].version = data.draw(st.sampled_from([0, 1, 6, 7, 9, 11, 13, 18, 22, 99]))
        case "declared":
            graph.input[0].type.tensor_type.shape.dim[1].dim_value = data.draw(st.sampled_from([0, -3, 2**62, 5]))
