"""What the applier writes: names, shared and computed parameters, what goes and what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from normdiag.folding.onnx import OnnxFoldable
from normdiag.records import Batch
from tests.folding.onnx.folded_files import fold_file, folded, initializer, names, operators, same
from tests.nets.onnx.nodes import batch_norm, conv_norm, from_nodes, node, norm_conv, norm_weights, normal, save, value

X = {"x": ["N", 3, 6, 6]}


def test_the_output_name_of_the_norm_stays(tmp_path: Path) -> None:
    result = folded(conv_norm(), tmp_path, 1)
    assert operators(result) == ["Conv", "Relu"]
    assert list(result.graph.node[0].input) == ["x", "w", "conv.bias"] and list(result.graph.node[0].output) == ["n"]
    assert names(result) == ["w", "conv.bias"]


def test_a_norm_that_is_the_graph_output(tmp_path: Path) -> None:
    proto = from_nodes(
        [node("Conv", ["x", "w", "b"], ["c"], name="conv"), batch_norm("c", "y")],
        X,
        ["y"],
        normal(w=(4, 3, 1, 1), b=(4,)) | norm_weights(4),
    )
    result = folded(proto, tmp_path, 1)
    assert list(result.graph.node[0].output) == ["y"] and names(result) == ["w", "b"]


def test_readers_of_the_size_of_what_is_gone(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        node("Shape", ["c"], ["s"]),
        batch_norm("c", "n"),
        node("Reshape", ["n", "s"], ["y"]),
    ]
    result = folded(from_nodes(nodes, X, ["y"], normal(w=(4, 3, 1, 1)) | norm_weights(4)), tmp_path, 1)
    assert list(result.graph.node[1].input) == ["n"]


def test_a_shared_weight_gets_a_copy(tmp_path: Path) -> None:
    proto = from_nodes(
        [
            node("Conv", ["x", "w"], ["c"], name="one"),
            batch_norm("c", "n"),
            node("Relu", ["n"], ["r"]),
            node("Conv", ["r", "w"], ["y"], name="two"),
        ],
        X,
        ["y"],
        normal(w=(3, 3, 1, 1)) | norm_weights(3),
    )
    result = folded(proto, tmp_path, 1)
    assert names(result) == ["w", "w_folded", "one.bias"]
    assert initializer(result, "w") == initializer(proto, "w")
    assert list(result.graph.node[2].input) == ["r", "w"]


def test_a_weight_that_is_a_graph_output_gets_a_copy(tmp_path: Path) -> None:
    proto = conv_norm()
    proto.graph.output.append(value("w", (4, 3, 3, 3)))
    result = folded(proto, tmp_path, 1)
    assert initializer(result, "w") == initializer(proto, "w") and "w_folded" in names(result)


def test_names_that_are_taken(tmp_path: Path) -> None:
    """By a node in a subgraph, by a value_info entry, and in other alphabets."""
    proto = conv_norm()
    inner = helper.make_graph([node("Abs", ["n"], ["conv.bias"])], "t", [], [value("conv.bias", None)])
    other = helper.make_graph([node("Neg", ["x"], ["no"])], "e", [], [value("no", None)])
    flag = node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    proto.graph.node.extend([flag, node("If", ["yes"], ["z"], then_branch=inner, else_branch=other)])
    proto.graph.value_info.append(value("conv.bias_folded", ["N"]))
    for each in proto.graph.node:
        each.name = ""
    proto.graph.node[0].name = "conv"
    result = folded(proto, tmp_path, 1)
    assert len(set(names(result))) == len(names(result)) and "conv.bias" not in names(result)


def test_strange_and_missing_node_names(tmp_path: Path) -> None:
    proto = conv_norm()
    rename = {"c": "ünïcode/çonv:0", "n": "a b\tc", "w": "w'\"{};", "bn.weight": "🙂"}
    for each in proto.graph.node:
        each.name = ""
        each.input[:] = [rename.get(name, name) for name in each.input]
        each.output[:] = [rename.get(name, name) for name in each.output]
    for tensor in proto.graph.initializer:
        tensor.name = rename.get(tensor.name, tensor.name)
    result = folded(proto, tmp_path, 1)
    assert result.graph.node[0].output[0] == "a b\tc" and names(result)[0] == "w'\"{};"


def test_parameters_in_constant_nodes_and_behind_transposes(tmp_path: Path) -> None:
    """The constant is written where the layer reads it; nodes that fed only the old one go, others stay."""
    w = np.random.default_rng(0).normal(0, 1, (5, 3)).astype(np.float32)
    nodes = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
        node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        node("Identity", ["bn.weight"], ["unused"]),
        node("MatMul", ["x", "wt"], ["m"], name="mm"),
        batch_norm("m", "n"),
        node("Relu", ["n"], ["y"]),
    ]
    proto = from_nodes(nodes, {"x": ["N", 3]}, ["y"], norm_weights(5))
    result = folded(proto, tmp_path, 1)
    assert operators(result) == ["Identity", "MatMul", "Add", "Relu"]
    assert names(result) == ["bn.weight", "wt", "mm.bias"]
    assert result.graph.node[2].name == "mm_add"


def test_an_empty_bias_name(tmp_path: Path) -> None:
    proto = conv_norm()
    proto.graph.node[0].input.append("")
    result = folded(proto, tmp_path, 1)
    assert len(result.graph.node[0].input) == 3 and result.graph.node[0].input[2]


def test_beta_of_a_gemm(tmp_path: Path) -> None:
    proto = from_nodes(
        [
            node("Gemm", ["x", "w", "b"], ["g"], alpha=0.5, beta=2.0, transB=1),
            batch_norm("g", "n"),
            node("Relu", ["n"], ["y"]),
        ],
        {"x": ["N", 3]},
        ["y"],
        normal(w=(5, 3), b=(5,)) | norm_weights(5),
    )
    result = folded(proto, tmp_path, 1)
    assert {a.name for a in result.graph.node[0].attribute} == {"alpha", "transB"}


def test_a_scalar_bias_grows_and_its_stated_shape_goes(tmp_path: Path) -> None:
    proto = from_nodes(
        [
            node("MatMul", ["x", "w"], ["m"]),
            node("Add", ["m", "b"], ["a"]),
            batch_norm("a", "n"),
            node("Relu", ["n"], ["y"]),
        ],
        {"x": ["N", 3]},
        ["y"],
        normal(w=(3, 5), b=()) | norm_weights(5),
    )
    proto.graph.value_info.extend([value("b", ()), value("n", ["N", 5]), value("m", ["N", 5]), value("a", ["N", 5])])
    result = folded(proto, tmp_path, 1)
    assert [info.name for info in result.graph.value_info] == ["n", "m"]
    assert list(initializer(result, "b").dims) == [5]


@pytest.mark.parametrize("ir", [3, 8])
def test_initializers_among_the_inputs(tmp_path: Path, ir: int) -> None:
    """All of them, as IR version 3 demands and as some exporters go on doing."""
    proto = conv_norm()
    proto.ir_version = ir
    proto.opset_import[0].version = 8
    proto.graph.input.extend(value(t.name, t.dims) for t in list(proto.graph.initializer))
    result = folded(proto, tmp_path, 1)
    assert [each.name for each in result.graph.input] == ["x", "w", *(["conv.bias"] if ir == 3 else [])]


def test_what_was_unused_before_stays(tmp_path: Path) -> None:
    proto = conv_norm()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(7, np.float32), "never"))
    proto.graph.node.insert(0, node("Constant", [], ["dead"], value_float=1.0))
    result = folded(proto, tmp_path, 1)
    assert operators(result)[0] == "Constant" and "never" in names(result)


def test_a_parameter_that_training_info_names_stays(tmp_path: Path) -> None:
    proto = conv_norm()
    binding = proto.training_info.add().update_binding.add()
    binding.key, binding.value = "bn.weight", "w"
    result = folded(proto, tmp_path, 1)
    assert initializer(result, "w") == initializer(proto, "w") and "bn.weight" in names(result)


def test_downstream_the_input_name_stays(tmp_path: Path) -> None:
    proto = norm_conv()
    proto.graph.value_info.append(value("n", ["N", 3, 6, 6]))
    result = folded(proto, tmp_path, 1)
    assert operators(result) == ["Relu", "Conv", "Relu"] and result.graph.node[1].input[0] == "r"
    assert not result.graph.value_info


def test_a_shift_that_stays_becomes_an_add(tmp_path: Path) -> None:
    proto = from_nodes(
        [node("Relu", ["x"], ["r"]), batch_norm("r", "n"), node("Conv", ["n", "w"], ["y"], name="conv", pads=[1] * 4)],
        X,
        ["y"],
        normal(w=(4, 3, 3, 3)) | norm_weights(3),
    )
    result = folded(proto, tmp_path, 1)
    assert operators(result) == ["Relu", "Add", "Conv"] and list(initializer(result, "bn.shift").dims) == [1, 3, 1, 1]


@pytest.mark.parametrize("with_beta", [True, False])
def test_layer_norm_loses_gamma_and_beta(tmp_path: Path, with_beta: bool) -> None:
    proto = from_nodes(
        [
            node("LayerNormalization", ["x", "g", *(["b"] if with_beta else [])], ["n"], name="ln", axis=-1),
            node("MatMul", ["n", "w"], ["y"], name="mm"),
        ],
        {"x": ["N", 5, 6]},
        ["y"],
        normal(g=(6,), w=(6, 4), **({"b": (6,)} if with_beta else {})),
    )
    result = folded(proto, tmp_path, 1, frozenset({"batch", "layer"}))
    assert list(result.graph.node[0].input) == ["x", "g"]
    assert (numpy_helper.to_array(initializer(result, "g")) == 1).all() and "b" not in names(result)
    assert operators(result) == ["LayerNormalization", "MatMul", *(["Add"] if with_beta else [])]


def test_everything_else_stays_byte_for_byte(tmp_path: Path) -> None:
    """Documentation, metadata, an unknown field, functions, annotations, float_data, a custom domain, a subgraph."""
    proto = conv_norm()
    proto.doc_string, proto.producer_name, proto.model_version = "what it is", "someone", 7
    proto.metadata_props.add(key="k", value="v")
    graph = proto.graph
    graph.doc_string = "the graph"
    graph.node[2].doc_string = "a relu"
    graph.node[2].metadata_props.add(key="scope", value="act")
    graph.initializer.append(helper.make_tensor("half", TensorProto.FLOAT, [2], [1.0, 2.0]))
    graph.node.append(node("Abs", ["half"], ["h"], name="abs"))
    graph.node.append(node("Mystery", ["y", "h"], ["z"], name="custom", domain="mine", b=1, a=[2.0], alpha="s"))
    graph.node.append(node("Twice", ["h"], ["t"], name="call", domain="local"))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.functions.append(
        helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], proto.opset_import[:1])
    )
    annotation = graph.quantization_annotation.add(tensor_name="n")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="half")
    graph.value_info.extend([value("n", ["N", 4, 4, 4]), value("c", ["N", 4, 4, 4])])
    data = proto.SerializeToString() + b"\xfa\x07\x05later"  # field 127: not known to this version of ONNX
    (tmp_path / "in.onnx").write_bytes(data)
    assert len(fold_file(tmp_path / "in.onnx", tmp_path / "out.onnx").steps) == 1
    written = (tmp_path / "out.onnx").read_bytes()
    assert written.endswith(b"\xfa\x07\x05later")
    result = onnx.ModelProto.FromString(written)
    expected = onnx.ModelProto.FromString(data)
    del expected.graph.node[1]
    expected.graph.node[0].CopyFrom(result.graph.node[0])
    for i in (4, 3, 2, 1):
        del expected.graph.initializer[i]
    expected.graph.initializer[0].CopyFrom(result.graph.initializer[0])
    expected.graph.initializer.append(result.graph.initializer[-1])
    del expected.graph.value_info[1]
    assert result.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    assert [t.name for t in result.graph.initializer] == ["w", "half", "conv.bias"]


def test_a_plan_without_steps_gives_the_same_bytes(tmp_path: Path) -> None:
    proto = from_nodes([node("Relu", ["x"], ["y"])], X, ["y"], {})
    save(proto, tmp_path / "in.onnx")
    fold_file(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "in.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["stored", "in a node", "shared"])
def test_a_constant_branch_takes_up_its_share(tmp_path: Path, kind: str) -> None:
    """A constant added to a convolution's output; who reads the same tensor as a weight reads the old one."""
    k = np.random.default_rng(1).normal(0, 1, (2, 4, 6, 6)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        node("Add", ["c", "k"], ["s"]),
        batch_norm("s", "n"),
        node("Relu", ["n"], ["y"]),
    ]
    tensors = normal(w=(4, 3, 1, 1)) | norm_weights(4)
    if kind == "in a node":
        nodes.insert(0, node("Constant", [], ["k"], value=numpy_helper.from_array(k)))
    else:
        tensors["k"] = k
    if kind == "shared":
        nodes.append(node("Conv", ["x", "w4"], ["big"], name="before"))
        nodes.append(node("Conv", ["big", "k"], ["z"], name="reads it as a weight", pads=[3] * 4))
        tensors |= normal(w4=(4, 3, 1, 1))
    proto = from_nodes(nodes, X, ("y", "z") if kind == "shared" else ("y",), tensors)
    result = folded(proto, tmp_path, 1)
    assert "BatchNormalization" not in operators(result) and "Constant" not in operators(result)
    reads = [name for each in result.graph.node for name in each.input if name.startswith("k")]
    assert reads == (["k_folded", "k"] if kind == "shared" else ["k"])
    if kind == "shared":
        assert initializer(result, "k") == initializer(proto, "k")


def test_outputs_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    """Integers, whose type is stated or not, and sequences."""
    proto = conv_norm()
    proto.graph.node.extend(
        [node("Shape", ["y"], ["s"]), node("Shape", ["n"], ["t"]), node("SequenceConstruct", ["y"], ["q"])]
    )
    proto.graph.output.extend(
        [value("s", [4], TensorProto.INT64), onnx.ValueInfoProto(name="t"), onnx.ValueInfoProto(name="q")]
    )
    foldable = OnnxFoldable(save(proto, tmp_path / "m.onnx"))
    batch = Batch((np.ones((1, 3, 6, 6), np.float32),))
    exact = foldable.exact()
    assert not isinstance(exact, str)
    assert list(foldable.evaluator().run(batch)) == list(exact.run(batch)) == ["y"]
    assert list(foldable.evaluator(["s"]).run(batch)) == ["y", "s"]


def test_input_and_output_may_be_one_file(tmp_path: Path) -> None:
    original, path = save(conv_norm(), tmp_path / "original.onnx"), save(conv_norm(), tmp_path / "m.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    assert len(fold_file(path, tmp_path / "link.onnx").steps) == 1
    assert (tmp_path / "link.onnx").is_symlink() and operators(onnx.load(path)) == ["Conv", "Relu"]
    same(original, path)


def test_a_file_whose_graph_stands_in_two_pieces(tmp_path: Path) -> None:
    """Protobuf merges them; such a file is written as protobuf writes it."""
    proto = conv_norm()
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.CopyFrom(proto)
    second.graph.initializer.extend(proto.graph.initializer)
    del first.graph.initializer[:]
    (tmp_path / "m.onnx").write_bytes(first.SerializeToString() + second.SerializeToString())
    assert len(fold_file(tmp_path / "m.onnx", tmp_path / "out.onnx").steps) == 1
    same(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert operators(onnx.load(tmp_path / "out.onnx")) == ["Conv", "Relu"]


@pytest.mark.parametrize("with_beta", [True, False])
def test_a_decomposed_layer_norm_loses_its_last_nodes(tmp_path: Path, with_beta: bool) -> None:
    nodes = [
        node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        node("Sub", ["x", "mean"], ["d"]),
        node("Pow", ["d", "two"], ["dd"]),
        node("ReduceMean", ["dd"], ["var"], axes=[-1]),
        node("Add", ["var", "eps"], ["ve"]),
        node("Sqrt", ["ve"], ["std"]),
        node("Div", ["d", "std"], ["q"]),
        node("Mul", ["q", "g"], ["n" if not with_beta else "s"]),
        *([node("Add", ["s", "b"], ["n"])] if with_beta else []),
        node("MatMul", ["n", "w"], ["y"], name="mm"),
    ]
    tensors = normal(g=(6,), w=(6, 4), **({"b": (6,)} if with_beta else {}))
    numbers = {"two": np.float32(2), "eps": np.float32(1e-5)}
    proto = from_nodes(nodes, {"x": ["N", 5, 6]}, ["y"], tensors | numbers)
    result = folded(proto, tmp_path, 1, frozenset({"layer"}))
    assert operators(result)[-2:] == (["MatMul", "Add"] if with_beta else ["Div", "MatMul"])
    assert "Mul" not in operators(result) and not {"g", "b"} & set(names(result))
