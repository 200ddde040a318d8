"""Large weights are left in the file when it is parsed; what is read is what a whole parse gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from normdiag.errors import InputError
from normdiag.models.onnx.file import open_onnx
from tests.nets.onnx.nodes import from_nodes, save

RNG = np.random.default_rng(0)
SIDE = 256  # squared, and in float16 or float32, it is large


def tensor(name: str, dtype: type = np.float32, side: int = SIDE) -> TensorProto:
    return numpy_helper.from_array((RNG.standard_normal((side, side)) * 50).astype(dtype), name)


def stored(*tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    """A model of these tensors."""
    made = from_nodes(
        nodes or [helper.make_node("MatMul", ["x", tensors[0].name], ["y"])], {"x": ["N", SIDE]}, ["y"], {}
    )
    made.graph.initializer.extend(tensors)
    made.graph.doc_string = "kept"
    return made


def same(path: Path) -> set[str]:
    """Every tensor reads as onnx reads it, all else is equal; the names of those that stayed in the file."""
    whole, file = onnx.load(path), open_onnx(path)
    for one, other in zip(whole.graph.initializer, file.proto.graph.initializer, strict=True):
        found = file.reader.array(other)
        expected = numpy_helper.to_array(one)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    completed = onnx.ModelProto()
    completed.CopyFrom(file.proto)
    for each in completed.graph.initializer:
        file.reader.complete(each)
    assert completed.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)
    return set(file.reader.embedded)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_large_weights_stay_in_the_file(tmp_path: Path, dtype: type) -> None:
    made = stored(tensor("w", dtype), tensor("small", dtype, 8), tensor("v", dtype))
    made.graph.initializer[2].doc_string = "a weight"
    path = save(made, tmp_path / "model.onnx")
    assert same(path) == {"w", "v"}
    assert not open_onnx(path).proto.graph.initializer[0].HasField("raw_data")


def test_the_place_of_the_values_may_be_stated(tmp_path: Path) -> None:
    """onnx.load states it for what came from another file."""
    made = stored(tensor("w"))
    made.graph.initializer[0].data_location = TensorProto.DEFAULT
    assert same(save(made, tmp_path / "model.onnx")) == {"w"}


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int8])
def test_other_types_are_parsed(tmp_path: Path, dtype: type) -> None:
    assert same(save(stored(tensor("w", dtype, 512)), tmp_path / "model.onnx")) == set()


def test_values_that_are_not_raw_are_parsed(tmp_path: Path) -> None:
    values = RNG.standard_normal((SIDE, SIDE)).astype(np.float32)
    made = helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.reshape(-1).tolist())
    assert same(save(stored(made, tensor("v")), tmp_path / "model.onnx")) == {"v"}


def test_a_name_that_two_tensors_have_is_parsed(tmp_path: Path) -> None:
    """A constant in a node, or a second initializer, may be called like the weight."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("w", side=4)),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    assert same(save(stored(tensor("w"), tensor("v"), nodes=nodes), tmp_path / "model.onnx")) == set()


def test_local_functions_are_parsed_whole(tmp_path: Path) -> None:
    made = stored(tensor("w"))
    inner = [helper.make_node("Relu", ["a"], ["b"])]
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], inner, [helper.make_opsetid("", 17)]))
    made.opset_import.append(helper.make_opsetid("own", 1))
    assert same(save(made, tmp_path / "model.onnx")) == set()


def test_two_graphs_in_one_file_are_parsed_as_protobuf_does(tmp_path: Path) -> None:
    """Protobuf merges what is written twice."""
    path = tmp_path / "model.onnx"
    path.write_bytes(stored(tensor("w")).SerializeToString() + onnx.ModelProto(graph={"name": "h"}).SerializeToString())
    assert same(path) == set()
    assert open_onnx(path).layers is None


def test_values_that_do_not_fill_the_shape(tmp_path: Path) -> None:
    made = tensor("w")
    made.dims[0] += 1
    file = open_onnx(save(stored(made), tmp_path / "model.onnx"))
    with pytest.raises(InputError, match=r"'w' is damaged"):
        file.reader.array(file.proto.graph.initializer[0])


@pytest.mark.parametrize("percent", range(1, 100, 7))
def test_a_file_cut_short(tmp_path: Path, percent: int) -> None:
    content = stored(tensor("w"), tensor("v")).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(InputError, match=str(path)):
        open_onnx(path)


def test_random_damage_is_read_as_protobuf_reads_it(tmp_path: Path) -> None:
    """Bytes changed in the headers: both ways refuse, or both read the same."""
    content = stored(tensor("w"), tensor("v")).SerializeToString()
    path, equal = tmp_path / "model.onnx", 0
    for _ in range(400):
        damaged = bytearray(content)
        place = RNG.integers(-200, 64)
        damaged[place] = RNG.integers(256)
        path.write_bytes(damaged)
        try:
            file = open_onnx(path)
        except InputError:
            continue
        whole = onnx.load_model_from_string(bytes(damaged))
        assert [(t.name, list(t.dims)) for t in file.proto.graph.initializer] == [
            (t.name, list(t.dims)) for t in whole.graph.initializer
        ]
        for one, other in zip(whole.graph.initializer, file.proto.graph.initializer, strict=True):
            if other.name in file.reader.embedded:
                start, size = file.reader.embedded[other.name]
                assert bytes(damaged[start : start + size]) == one.raw_data
                equal += 1
    assert equal > 50
