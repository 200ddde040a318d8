import itertools
import os
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

import normdiag
from normdiag.errors import InputError
from normdiag.graph import open_model
from tests.graph.importers.onnx.site_checks import load_program, load_text
from tests.graph.importers.onnx.test_onnx_operators import BATCH_NORM, function_model, image, nested
from tests.nets.onnx.nodes import batch_norm, norm_weights
from tests.nets.onnx.nodes import write as write_net
from tests.nets.onnx.text import CONSTANTS, from_text

SMALL = from_text(
    image(f"a = {BATCH_NORM}  b = Relu(a)  y = InstanceNormalization(b, gamma4, beta4)")
).SerializeToString()


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 64,
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<html></html>",
        b"{}",
        b"PK\3\4" + b"\0" * 60,
        b"\x80\2]q\0.",
    ],
)
def test_other_files(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx"):
        load_program(write(tmp_path, content))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.onnx", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_program(path)


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_truncated(percent: int, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_program(write(tmp_path, SMALL[: len(SMALL) * percent // 100]))


def test_more_than_protobuf_can_hold(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    with path.open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(InputError, match="2 GiB"):
        load_program(path)


def test_no_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ONNX graph"):
        load_program(write(tmp_path, onnx.ModelProto(ir_version=8).SerializeToString()))


def test_no_operator_set(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(SMALL)
    del model.opset_import[:]
    with pytest.raises(InputError, match="operator set"):
        load_program(write(tmp_path, model.SerializeToString()))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        load_program(write(tmp_path, SMALL.replace(b"gamma4", b"gamm\xff4")))


@pytest.mark.parametrize("dims", [[5], [-4], [2**62, 2**62], [1 << 40]])
def test_a_tensor_that_lies_about_its_shape(dims: list[int], tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(SMALL)
    tensor = next(t for t in model.graph.initializer if t.name == "gamma4")
    del tensor.dims[:]
    tensor.dims.extend(dims)
    try:
        assert load_program(write(tmp_path, model.SerializeToString())).notes
    except InputError as error:
        assert "gamma4" in str(error)


def test_more_dimensions_than_arrays_have(tmp_path: Path) -> None:
    """In a weight one line; in what the graph declares or computes, a shape that is not known."""
    model = onnx.ModelProto.FromString(SMALL)
    tensor = next(t for t in model.graph.initializer if t.name == "gamma4")
    tensor.dims.extend([0, *[256] * 200])
    with pytest.raises(InputError, match="tensor 'gamma4' is damaged: it has 202 dimensions"):
        load_program(write(tmp_path, model.SerializeToString()))
    model = onnx.ModelProto.FromString(SMALL)
    model.graph.input[0].type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension(dim_value=1)] * 100)
    assert open_model(write(tmp_path, model.SerializeToString())).inputs[0].shape is None
    with suppress(InputError):
        normdiag.fold(tmp_path / "model.onnx")


def test_a_rank_that_grows_beyond_what_arrays_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unsqueeze", ["x", "axes"], ["wide"]), batch_norm("wide", "y")]
    given = norm_weights(4) | {"axes": np.arange(2, 82)}
    path = write_net(tmp_path, nodes, {"x": ["n", 4]}, ["y"], given)
    with suppress(InputError):
        normdiag.fold(path)
    assert [each.layer.kind for each in normdiag.inspect(path).layers] == ["batch_norm"]


MODELS = [SMALL, function_model().SerializeToString(), nested(2).SerializeToString()]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_a_result_or_one_line(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(MODELS)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        load_program(write(tmp_path, bytes(content)))
    except InputError as error:
        assert "\n" not in str(error)


def chain(length: int, op: str, *extra: str) -> list[onnx.NodeProto]:
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    return [helper.make_node(op, [a, *extra], [b]) for a, b in itertools.pairwise(names)]


def doubling(op: str) -> list[onnx.NodeProto]:
    """Each tensor is read twice by the next: 2^60 paths."""
    names = ["half", *(f"t{i}" for i in range(60))]
    nodes = [
        helper.make_node(op, [a, a], [b], **({"axis": 0} if op == "Concat" else {}))
        for a, b in itertools.pairwise(names)
    ]
    return [*nodes, helper.make_node("Mul", ["x", "t59"], ["y"]), helper.make_node("Clip", ["x", "t59", "t9"], ["z"])]


HOSTILE = {
    "identities": chain(20_000, "Identity"),
    "products": chain(20_000, "Mul", "half"),
    "powers": chain(2_000, "Mul", "x"),
    "casts of a mean": [helper.make_node("ReduceMean", ["x"], ["x"], axes=[1]), *chain(20_000, "Identity")],
    "doubled sums": doubling("Add"),
    "doubled lists": doubling("Concat"),
    "doubled shapes": [helper.make_node("Shape", ["x"], ["half"]), *doubling("Concat")],
    "a deep name": [helper.make_node("Relu", ["x"], ["y"], name="/a" * 100_000) for _ in range(100)],
    "a large fill": [
        helper.make_node("ConstantOfShape", ["huge"], ["f"]),
        *(helper.make_node("BatchNormalization", ["x", "f", "f", "f", "f"], ["y"]) for _ in range(500)),
    ],
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_graphs_end_soon(case: str, tmp_path: Path) -> None:
    model = from_text("g (float[2,8] x) => (float[2,8] y) { y = Mul(x, half) }", 13, huge=np.array([2**20, 2**20]))
    model.graph.initializer.add(name="huge", data_type=7, dims=[2], int64_data=[2**20, 2**20])
    del model.graph.node[:]
    model.graph.node.extend(HOSTILE[case])
    started = time.monotonic()
    load_program(write(tmp_path, model.SerializeToString()))
    assert time.monotonic() - started < 20


def test_functions_that_call_each_other_too_deep(tmp_path: Path) -> None:
    model = from_text("g (float[2] x) => (float[2] y) { y = Identity(x) }")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("here", 1)]
    for level in range(3000):
        node = (
            helper.make_node(f"F{level + 1}", ["a"], ["b"], domain="here")
            if level < 2999
            else helper.make_node("Relu", ["a"], ["b"])
        )
        model.functions.append(helper.make_function("here", f"F{level}", ["a"], ["b"], [node], imports))
    model.graph.node[0].CopyFrom(helper.make_node("F0", ["x"], ["y"], domain="here"))
    model.opset_import.append(helper.make_opsetid("here", 1))
    with pytest.raises(InputError, match="deep"):
        load_program(write(tmp_path, model.SerializeToString()))


def external(folder: Path, location: str, offset: str | None = None, length: str | None = None) -> Path:
    """A model whose gamma4 lies outside; beside it, a file with the right values after 64 bytes of something else."""
    model = onnx.ModelProto.FromString(SMALL)
    tensor = next(t for t in model.graph.initializer if t.name == "gamma4")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    content = b"\1" * 64 + CONSTANTS["gamma4"].tobytes()
    (home / "weights.bin").write_bytes(content)
    (folder / "outside.bin").write_bytes(content)
    return write(home, model.SerializeToString())


@pytest.mark.parametrize(("offset", "length"), [("64", "16"), ("64", None)])
def test_external_data(offset: str, length: str | None, tmp_path: Path) -> None:
    program = load_program(external(tmp_path, "weights.bin", offset, length))
    np.testing.assert_array_equal(program.sites[0].layer.gamma, CONSTANTS["gamma4"])
    assert program.folder == tmp_path / "home"


def test_external_data_in_a_subfolder(tmp_path: Path) -> None:
    path = external(tmp_path, "sub/../sub/weights.bin", "64")
    (path.parent / "sub").mkdir()
    (path.parent / "weights.bin").rename(path.parent / "sub" / "weights.bin")
    np.testing.assert_array_equal(load_program(path).sites[0].layer.gamma, CONSTANTS["gamma4"])


@pytest.mark.parametrize(
    "location", ["../outside.bin", "", ".", "a/../../outside.bin", "/etc/passwd", "/dev/zero", "nul\0byte"]
)
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gamma4.*not a file inside"):
        load_program(external(tmp_path, location))


def test_external_data_through_a_link_that_leads_outside(tmp_path: Path) -> None:
    path = external(tmp_path, "link.bin", "64")
    (path.parent / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(InputError, match="not a file inside"):
        load_program(path)


def test_external_data_through_a_linked_folder(tmp_path: Path) -> None:
    path = external(tmp_path, "link/outside.bin", "64")
    (path.parent / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InputError, match="not a file inside"):
        load_program(path)


def test_external_data_through_a_link_in_a_circle(tmp_path: Path) -> None:
    path = external(tmp_path, "a.bin")
    (path.parent / "a.bin").symlink_to("b.bin")
    (path.parent / "b.bin").symlink_to("a.bin")
    with pytest.raises(InputError, match="gamma4"):
        load_program(path)


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.bin.*gamma4.*missing"):
        load_program(external(tmp_path, "gone.bin"))


def test_external_data_that_is_no_regular_file(tmp_path: Path) -> None:
    path = external(tmp_path, "pipe")
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        load_program(path)


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        ("64", "17", "too short"),
        ("65", "16", "too short"),
        ("81", None, "too short"),
        ("64", "15", "needs 16 bytes"),
        ("70", None, "needs 16 bytes"),
        ("-1", "16", "offset"),
        ("64", "x", "length"),
        ("9" * 30, "16", "offset"),
    ],
)
def test_external_data_of_the_wrong_length(offset: str, length: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"gamma4.*{message}|{message}.*gamma4"):
        load_program(external(tmp_path, "weights.bin", offset, length))


def test_tensors_that_are_not_read_are_checked_too(tmp_path: Path) -> None:
    """Weights that no norm needs must not be missing either: the model could not run."""
    path = external(tmp_path, "weights.bin", "64")
    model = onnx.load(path, load_external_data=False)
    tensor = helper.make_tensor("big", onnx.TensorProto.FLOAT, [4], [1, 2, 3, 4])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="gone.bin")
    model.graph.initializer.append(tensor)
    with pytest.raises(InputError, match=r"big.*missing"):
        load_program(write(path.parent, model.SerializeToString()))


def test_reads_only_what_norms_need_and_imports_nothing_heavy(tmp_path: Path) -> None:
    """4 GiB of weights in a sparse file, read under a limit of 1 GiB of heap, without torch and onnxruntime."""
    path = external(tmp_path, "weights.bin", "64")
    model = onnx.load(path, load_external_data=False)
    big = model.graph.initializer.add(name="big", data_type=1, dims=[2**30], data_location=onnx.TensorProto.EXTERNAL)
    big.external_data.add(key="location", value="big.bin")
    with (path.parent / "big.bin").open("wb") as file:
        file.truncate(2**32)
    write(path.parent, model.SerializeToString())
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
        from normdiag.graph import open_model
        program = open_model(Path(sys.argv[1])).program
        assert len(program.sites) == 2, program
        assert program.parameters == 2**30 + 16, program.parameters
        heavy = {"torch", "onnxruntime", "onnx_ir", "onnxscript", "scipy", "PIL"} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_weights_in_constant_nodes_and_in_bodies_are_parameters(tmp_path: Path) -> None:
    """Paddle keeps all weights in Constant nodes, silero in the branches of an If."""
    text = """g (float[2,3] x, bool c) => (float[2,3] y) {
        w = Constant<value = float[3,3] {1,2,3,4,5,6,7,8,9}>()
        small = Constant<value = float {0.5}>()
        axis = Constant<value = int64[1] {0}>()
        a = MatMul(x, w)
        b = Mul(a, small)
        y = If(c) <
            then_branch = t () => (float[2,3] p) { v = Constant<value = float[3] {1,2,3}>()  p = Add(b, v) },
            else_branch = e () => (float[2,3] q) { u = Constant<value = float[3] {1,2,3}>()  q = Sub(b, u) }>
    }"""
    assert load_text(tmp_path, text).parameters == 9 + 3 + 3
