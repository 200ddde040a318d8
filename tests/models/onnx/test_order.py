"""Nodes that stand after their readers, as onnxconverter-common writes its last Cast, are read as if sorted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import normdiag
from normdiag.models.onnx.order import running_order
from tests.folding.onnx.folded_files import fold_file, operators, outputs
from tests.nets.onnx.nodes import conv_norm, node, save, value


def graph_of(*reads: tuple[int, ...]) -> onnx.GraphProto:
    """One node for each: node i writes 't{i}' and reads those of the nodes given."""
    nodes = [node("Sum", ["x", *(f"t{i}" for i in each)], [f"t{at}"]) for at, each in enumerate(reads)]
    return helper.make_graph(nodes, "g", [value("x", [1])], [value("t0", [1])])


def half_precision() -> onnx.ModelProto:
    """Cast to half, Conv, BatchNormalization, Relu; and the Cast back to float in front of them all."""
    proto = conv_norm()
    for tensor in proto.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    proto.graph.node[0].input[0], proto.graph.node[2].output[0] = "half", "wide"
    first = node("Cast", ["x"], ["half"], name="to_half", to=TensorProto.FLOAT16)
    last = node("Cast", ["wide"], ["y"], name="to_float", to=TensorProto.FLOAT)
    nodes = [last, *proto.graph.node, first]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def test_what_is_sorted_is_left_alone() -> None:
    assert running_order(graph_of((), (0,), (0, 1))) is None


def test_a_writer_at_the_end_comes_first_and_the_others_keep_their_order() -> None:
    assert running_order(graph_of((), (4,), (), (1,), ())) == (0, 2, 4, 1, 3)


def test_nodes_that_wait_for_each_other_have_no_order() -> None:
    assert running_order(graph_of((1,), (0,))) is None


def test_what_a_subgraph_reads_counts() -> None:
    body = helper.make_graph([node("Neg", ["late"], ["b"])], "b", [], [value("b", [1])])
    nodes = [node("If", ["x"], ["y"], then_branch=body, else_branch=body), node("Neg", ["x"], ["late"])]
    assert running_order(helper.make_graph(nodes, "g", [value("x", [1])], [value("y", [1])])) == (1, 0)


@given(st.permutations(range(6)), st.lists(st.sets(st.integers(0, 5)), min_size=6, max_size=6))
def test_any_order_of_any_graph_is_mended(places: list[int], drawn: list[set[int]]) -> None:
    reads: list[tuple[int, ...]] = [()] * 6
    for index, place in enumerate(places):
        reads[place] = tuple(places[earlier] for earlier in drawn[index] if earlier < index)
    order = running_order(graph_of(*reads)) or tuple(range(6))
    at = {index: position for position, index in enumerate(order)}
    assert sorted(order) == list(range(6))
    assert all(at[writer] < at[index] for index, each in enumerate(reads) for writer in each)


def test_a_file_in_another_order_is_inspected_and_folded(tmp_path: Path) -> None:
    source, target = save(half_precision(), tmp_path / "in.onnx"), tmp_path / "out.onnx"
    assert [each.layer.name for each in normdiag.inspect(source).layers] == ["bn"]
    assert len(fold_file(source, target).steps) == 1
    result = onnx.load(target)
    onnx.checker.check_model(result, full_check=True)
    assert operators(result) == ["Cast", "Conv", "Relu", "Cast"]
    np.testing.assert_allclose(outputs(target)["y"], outputs(source)["y"], atol=0.02)


def test_the_bytes_of_every_node_stay_with_it(tmp_path: Path) -> None:
    proto = half_precision()
    for each in proto.graph.node:
        each.doc_string = f"about {each.name}"
    fold_file(save(proto, tmp_path / "in.onnx"), tmp_path / "out.onnx")
    found = {each.name: each.doc_string for each in onnx.load(tmp_path / "out.onnx").graph.node}
    assert found == {name: f"about {name}" for name in ("to_half", "conv", "act", "to_float")}
