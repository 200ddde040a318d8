"""ONNX: where no edit reaches, what other parts of a file read, and what must stay as it is."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.folding.zoo.case import Zoo
from tests.folding.zoo.onnx_refused import convolved, refused
from tests.nets.onnx.net import NUMPY, TYPES, OnnxNet

ZOO = Zoo()

# Where no edit reaches.


def branches(g: OnnxNet, then: list[onnx.NodeProto], result: str, other: list[onnx.NodeProto], otherwise: str) -> str:
    condition = g.input(name="condition", dtype="float32")
    g.inputs[-1].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    shape = helper.make_tensor_value_info(result, TYPES[g.dtype], None)
    second = helper.make_tensor_value_info(otherwise, TYPES[g.dtype], None)
    return str(
        g.op(
            "If",
            condition,
            then_branch=helper.make_graph(then, "then", [], [shape]),
            else_branch=helper.make_graph(other, "else", [], [second]),
        )
    )


def taken_out(g: OnnxNet, first: int) -> list[onnx.NodeProto]:
    nodes, g.nodes[first:] = g.nodes[first:], []
    return nodes


@ZOO.case("If Relu", opset=17, **refused("(?i)subgraph|branch|body"))
def in_a_branch(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    y = g.bn(g.conv(x, 3, 3, pads=[1, 1, 1, 1]), 3)
    then = taken_out(g, 0)
    other = [helper.make_node("Identity", [x], ["else_out"], name="keep")]
    g.output(g.op("Relu", branches(g, then, y, other, "else_out")))


@ZOO.case("Conv BatchNormalization If Relu Relu", opset=17, **refused("(?i)subgraph|used|read"))
def a_branch_reads_the_convolution(g: OnnxNet) -> None:
    y = convolved(g)
    z = g.bn(y, 4)
    then = [helper.make_node("Neg", [y], ["then_out"], name="negative")]
    other = [helper.make_node("Identity", [y], ["else_out"], name="keep")]
    g.output(g.op("Relu", branches(g, then, "then_out", other, "else_out")), g.op("Relu", z))


@ZOO.case("Conv If Relu", opset=17)
def a_branch_reads_the_norm(g: OnnxNet) -> None:
    """The name that the branch reads must stay."""
    y = g.bn(convolved(g), 4)
    then = [helper.make_node("Neg", [y], ["then_out"], name="negative")]
    other = [helper.make_node("Identity", [y], ["else_out"], name="keep")]
    g.output(g.op("Relu", branches(g, then, "then_out", other, "else_out")))


@ZOO.case("Conv If Relu", opset=17)
def a_branch_reads_the_weight(g: OnnxNet) -> None:
    """The stored weight is read in a subgraph too: the convolution gets a copy."""
    weight = g.value(g.normal(4, 3, 3, 3), "read_inside")
    y = g.bn(g.conv(g.input("N", 3, 6, 5), 3, 4, weight=weight), 4)
    then = [helper.make_node("ReduceMax", [weight], ["largest"], keepdims=0, name="largest")]
    then.append(helper.make_node("Add", [y, "largest"], ["then_out"], name="raised"))
    other = [helper.make_node("Identity", [y], ["else_out"], name="keep")]
    g.output(g.op("Relu", branches(g, then, "then_out", other, "else_out")))


def with_function(g: OnnxNet, x: str, channels: int) -> str:
    """A call of a local function that holds a norm."""
    names = [g.value(array) for array in g.bn_values(channels).values()]
    g.domains["local"] = 1
    return str(g.op("Normalized", x, *names, domain="local"))


@ZOO.case("Conv Normalized Relu", opset=17, **refused("(?i)function"))
def in_a_local_function(g: OnnxNet) -> onnx.ModelProto:
    g.output(g.op("Relu", with_function(g, convolved(g), 4)))
    formal = ["x", "gamma", "beta", "mean", "var"]
    body = [helper.make_node("BatchNormalization", formal, ["y"], name="inner", epsilon=1e-3)]
    imports = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Normalized", formal, ["y"], body, imports)
    return g.model([function])


# Files.


@ZOO.case("Conv Conv Relu Relu", folded=2)
def shared_weight_and_two_norms(g: OnnxNet) -> None:
    weight = g.value(g.normal(4, 3, 3, 3), "shared")
    first = g.bn(g.conv(g.input("N", 3, 6, 5), 3, 4, weight=weight, bias=False), 4)
    second = g.bn(g.conv(g.input("N", 3, 6, 5, name="z"), 3, 4, weight=weight, bias=False), 4)
    ordered(g, "Conv Conv BatchNormalization BatchNormalization")
    g.output(g.op("Relu", first), g.op("Relu", second))


def ordered(g: OnnxNet, kinds: str) -> None:
    """Put the nodes in this order, each kind in its own."""
    left = list(g.nodes)
    g.nodes = [left.pop(next(i for i, node in enumerate(left) if node.op_type == kind)) for kind in kinds.split()]


def reports_a_copy(_: onnx.ModelProto, folded: onnx.ModelProto, plan: object) -> None:
    copies = plan.copies  # type: ignore[attr-defined]
    assert [copy.bytes for copy in copies] == [4 * 3 * 9 * (8 if folded.graph.initializer[0].data_type == 11 else 4)]
    assert copies[0].parameter == "shared"


@ZOO.case("Conv Conv Relu Relu", folded=1, check=reports_a_copy)
def shared_weight_and_one_norm(g: OnnxNet) -> None:
    weight = g.value(g.normal(4, 3, 3, 3), "shared")
    y = g.conv(g.input("N", 3, 6, 5), 3, 4, weight=weight)
    z = g.conv(g.input("N", 3, 6, 5, name="z"), 3, 4, weight=weight)
    y = g.bn(y, 4)
    g.output(g.op("Relu", y), g.op("Relu", z))


@ZOO.case("Conv Conv Relu Relu", folded=1)
def shared_bias_and_one_norm(g: OnnxNet) -> None:
    bias = g.value(g.normal(4), "shared_bias")
    y = g.op("Conv", g.input("N", 3, 6, 5), g.value(g.normal(4, 3, 3, 3)), bias)
    z = g.op("Conv", g.input("N", 3, 6, 5, name="z"), g.value(g.normal(4, 3, 3, 3)), bias)
    y = g.bn(str(y), 4)
    g.output(g.op("Relu", y), g.op("Relu", z))


@ZOO.case("Conv Conv Relu", folded=2)
def shared_norm_parameters(g: OnnxNet) -> None:
    names = [g.value(array) for array in g.bn_values(4).values()]
    y = g.bn(g.conv(g.input("N", 4, 7, 7), 4, 4), 4, names=names)
    g.output(g.op("Relu", g.bn(g.conv(y, 4, 4), 4, names=names)))


@ZOO.case("Conv Reshape Mul Relu", folded=1)
def the_weight_is_data_too(g: OnnxNet) -> None:
    """Read as a parameter by the convolution and as data by a Mul: the Mul must see the old values."""
    weight = g.value(g.normal(4, 3, 1, 1), "weight")
    y = g.bn(g.conv(g.input("N", 3, 3, 2), 3, 4, 1, weight=weight), 4)
    g.output(g.op("Relu", g.op("Mul", y, g.reshape(weight, 1, 4, 3, 1))))


@ZOO.case("Conv Relu", opset=17)
def the_weight_is_an_output_too(g: OnnxNet) -> None:
    weight = g.value(g.normal(4, 3, 3, 3), "weight")
    y = g.bn(g.conv(g.input("N", 3, 6, 5), 3, 4, weight=weight), 4)
    g.output(g.op("Relu", y))
    g.output(weight, shape=(4, 3, 3, 3))


@ZOO.case("Conv Relu")
def an_empty_bias_name(g: OnnxNet) -> None:
    y = g.op("Conv", g.input("N", 3, 6, 5), g.value(g.normal(4, 3, 3, 3)), "")
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("Conv Conv Relu", folded=2)
def names_that_are_taken(g: OnnxNet) -> None:
    """Whatever a tool would call the new parameters exists already."""
    y = g.bn(g.conv(g.input("N", 3, 8, 8), 3, 4, bias=False), 4)
    y = g.bn(g.conv(y, 4, 4, bias=False), 4)
    stems = [*[node.name for node in g.nodes], *[node.output[0] for node in g.nodes], *list(g.constants), ""]
    endings = (
        "bias",
        "weight",
        "folded",
        "fold",
        "fused",
        "bn",
        "b",
        "w",
        "bias_folded",
        "weight_folded",
        "normdiag",
        "1",
        "0",
        "shift",
        "copy",
        "scale",
    )
    g.output(g.op("Relu", y))
    for stem in stems:
        for ending in endings:
            for joint in ("_", ".", "/", "::", ""):
                if (name := f"{stem}{joint}{ending}") not in g.constants:
                    g.value(np.zeros(1), name)


@ZOO.case("Conv Relu")
def weight_in_a_constant_node(g: OnnxNet) -> None:
    weight, bias = g.constant(g.normal(4, 3, 3, 3)), g.constant(g.normal(4))
    y = g.op("Conv", g.input("N", 3, 6, 5), weight, bias)
    names = [g.constant(array) for array in g.bn_values(4).values()]
    g.output(g.op("Relu", g.bn(str(y), 4, names=names)))


@ZOO.each("weight_behind", ["Identity", "Reshape", "Unsqueeze"], "Conv Relu")
def weight_behind(g: OnnxNet, kind: str) -> None:
    """A weight that reaches its layer through a node on constants, as exporters leave them."""
    if kind == "Identity":
        weight = str(g.op("Identity", g.value(g.normal(4, 3, 3), "w")))
    elif kind == "Reshape":
        weight = g.reshape(g.value(g.normal(12, 3), "w"), 4, 3, 3)
    else:
        weight = g.unsqueeze(g.value(g.normal(4, 3), "w"), 2)
    y = g.op("Conv", g.input("N", 3, 6), weight)
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("MatMul Add Relu|Transpose MatMul Add Relu")
def weight_behind_a_transpose(g: OnnxNet) -> None:
    y = g.op("MatMul", g.input("N", 5), g.op("Transpose", g.value(g.normal(6, 5)), perm=[1, 0]))
    g.output(g.op("Relu", g.bn(str(g.op("Add", y, g.value(g.normal(6)))), 6)))


@ZOO.case(
    "Conv Cast Relu|Cast Conv Relu|Conv Relu|Cast Conv BatchNormalization Relu",
    folded=None,
    opset=13,
    dtypes=("float32",),
)
def weight_stored_in_half(g: OnnxNet) -> None:
    """Stored as float16 and cast: the new weight is float32 or the norm stays; half its digits must not go."""
    weight = g.op("Cast", g.value(g.normal(4, 3, 3, 3), dtype="float16"), to=1)
    y = g.op("Conv", g.input("N", 3, 6, 5), weight, g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("Conv QuickGelu Relu", opset=17, dtypes=("float32",))
def a_node_of_another_domain(g: OnnxNet) -> None:
    g.domains["com.microsoft"] = 1
    y = g.op("QuickGelu", g.bn(convolved(g), 4), domain="com.microsoft", alpha=1.7)
    g.output(g.op("Relu", y), shape=("N", 4, 4, 3))


@ZOO.case("Conv Thing BatchNormalization Relu", opset=17, runs=False, **refused("(?i)thing"))
def a_node_that_nobody_knows(g: OnnxNet) -> None:
    g.domains["org.example"] = 3
    y = g.op("Thing", convolved(g), domain="org.example", strength=2)
    g.output(g.op("Relu", g.bn(str(y), 4)), shape=("N", 4, 4, 3))


@ZOO.case("Conv Thing Relu", opset=17, runs=False)
def a_node_that_nobody_knows_behind(g: OnnxNet) -> None:
    g.domains["org.example"] = 3
    y = g.op("Thing", g.bn(convolved(g), 4), domain="org.example", strength=2)
    g.output(g.op("Relu", y), shape=("N", 4, 4, 3))


@ZOO.case("Conv Relu", opset=17)
def everything_written_on_it(g: OnnxNet) -> onnx.ModelProto:
    y = g.bn(convolved(g), 4)
    g.value(np.arange(3.0), "nobody_reads_this")
    g.output(g.op("Relu", y))
    model = g.model()
    model.producer_name, model.producer_version, model.domain = "zoo", "7", "org.example"
    model.model_version, model.doc_string = 42, "a model\nwith a story"
    helper.set_model_props(model, {"author": "nobody", "stride": "32", "namen": "größe"})
    model.graph.doc_string, model.graph.node[0].doc_string = "its graph", "its first layer"
    model.graph.node[-1].doc_string = "its last"
    model.graph.value_info.append(helper.make_tensor_value_info(y, TYPES[g.dtype], ["N", 4, 4, 3]))
    model.graph.value_info.append(
        helper.make_tensor_value_info(model.graph.node[0].output[0], TYPES[g.dtype], ["N", 4, 4, 3])
    )
    return model


@ZOO.case("Conv Relu", opset=17)
def nodes_without_names(g: OnnxNet) -> onnx.ModelProto:
    g.output(g.op("Relu", g.bn(convolved(g), 4)))
    model = g.model()
    for node in model.graph.node:
        node.name = ""
    return model


@ZOO.case("Conv Relu")
def data_in_typed_fields(g: OnnxNet) -> onnx.ModelProto:
    """float_data and double_data instead of raw bytes."""
    g.output(g.op("Relu", g.bn(convolved(g), 4)))
    model = g.model()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        assert array.dtype == NUMPY[g.dtype]
        tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, array.ravel().tolist()))
    return model
