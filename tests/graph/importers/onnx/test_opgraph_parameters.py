import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, helper, numpy_helper

from normdiag.errors import InputError
from normdiag.records import Constant, Conv, Linear, Norm, Parameter
from tests.graph.importers.onnx.graph_checks import by_output, check_text, only, read, read_text
from tests.nets.onnx.text import from_text

RNG = np.random.default_rng(2)
W = RNG.normal(size=(4, 4)).astype(np.float32)


def weight(graph, tensor: str) -> Parameter:  # type: ignore[no-untyped-def]
    """The weight of the operation that writes a tensor."""
    detail = by_output(graph, tensor).detail
    assert isinstance(detail, Conv | Linear)
    return detail.weight


def test_a_weight_behind_views() -> None:
    text = "g (float[N,4] x) => (y) { a = Identity(w)  b = Transpose(a)  c = Reshape(b, to)  y = MatMul(x, c) }"
    found = weight(check_text(text, w=W, to=np.array([4, 4])), "y")
    assert (found.name, found.shape, found.dtype) == ("c", (4, 4), "float32")
    np.testing.assert_array_equal(found.read(), W.T)


def test_a_weight_behind_a_cast_has_the_type_that_is_read() -> None:
    text = "g (float[N,4] x) => (y) { a = Cast<to=1>(w)  y = MatMul(x, a) }"
    found = weight(check_text(text, w=W.astype(np.float16)), "y")
    assert (found.name, found.dtype, found.read().dtype) == ("a", "float32", np.float32)


def test_a_weight_that_is_computed_from_constants() -> None:
    text = "g (float[N,4] x) => (y) { a = Mul(w, two)  y = MatMul(x, a) }"
    found = weight(check_text(text, w=W), "y")
    assert found.obstacle is None
    np.testing.assert_array_equal(found.read(), 2 * W)


@pytest.mark.parametrize(
    ("body", "obstacle"),
    [
        ("a = DequantizeLinear(q, s)  y = MatMul(x, a)", "is quantized"),
        ("a = DequantizeLinear(q, s)  b = Transpose(a)  y = MatMul(x, b)", "is quantized"),
        ("a = Sin(w)  y = MatMul(x, a)", "is computed by the graph"),
    ],
)
def test_weights_that_must_stay(body: str, obstacle: str) -> None:
    arrays = {"w": W, "q": np.ones((4, 4), np.int8), "s": np.float32(0.5)}
    assert weight(read_text(f"g (float[N,4] x) => (y) {{ {body} }}", **arrays), "y").obstacle == obstacle


SHARED = {
    "two layers": ("a = MatMul(x, w)  y = MatMul(a, w)", ("second",)),
    "through a transpose": ("t = Transpose(w)  a = MatMul(x, w)  y = MatMul(a, t)", ("second",)),
    "as data": ("a = MatMul(x, w)  b = Relu(a)  y = Add(b, w)", ("w",)),
    "as an operand": ("a = MatMul(x, w)  y = Mul(a, w)", ("second",)),
    "alone": ("a = MatMul(x, w)  y = Relu(a)", ()),
    "in the output": ("a = MatMul(x, w)  b = Relu(a)  y = Identity(w)", ("the graph output",)),
    "twice in one": ("a = Gemm(x, w, w)  y = Relu(a)", ("first",)),
}


@pytest.mark.parametrize("case", SHARED)
def test_sharing(case: str) -> None:
    body, names = SHARED[case]
    model = from_text(f"g (float[4,4] x) => (y) {{ {body} }}", w=W)
    first = next(node for node in model.graph.node if node.output[0] == "a")
    first.name = "first"
    model.graph.node[-1].name = "second"
    assert weight(read(model), "a").shared_with == names


def test_sharing_of_a_branch() -> None:
    text = "g (float[N,4,4] x) => (y, z) { y = Add(x, w)  z = MatMul(x, w) }"
    detail = by_output(read_text(text, w=W), "w").detail
    assert isinstance(detail, Constant)
    assert detail.value.shared_with == ("z",)


def test_sharing_with_a_subgraph() -> None:
    model = from_text("g (float[N,4] x) => (y) { y = MatMul(x, w) }", w=W)
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body))
    assert weight(read(model), "y").shared_with == ("a subgraph",)


def test_one_gamma_for_all_norms() -> None:
    text = (
        "g (float[N,4,3] x) => (y) { a = BatchNormalization(x, gamma4, beta4, mean4, gamma4)"
        "  y = BatchNormalization(a, var4, beta4, mean4, var4) }"
    )
    graph = check_text(text)
    detail = by_output(graph, "a").detail
    assert isinstance(detail, Norm)
    assert detail.gamma is not None
    assert detail.beta is not None
    assert detail.gamma.shared_with == ("batch_norm_0",)
    assert detail.beta.shared_with == ("batch_norm_1",)


def listed(names: list[str], ir_version: int = 8) -> onnx.ModelProto:
    """A model with initializers that are also graph inputs."""
    text = "g (float[N,4,3,3] x) => (y) { a = Conv(x, k)  y = BatchNormalization(a, gamma4, beta4, mean4, var4) }"
    model = from_text(text, k=np.ones((4, 4, 1, 1), np.float32))
    model.ir_version = ir_version
    for tensor in model.graph.initializer:
        if tensor.name in names:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


ALL = ["k", "gamma4", "beta4", "mean4", "var4"]


@pytest.mark.parametrize(
    ("names", "ir_version", "obstacles"),
    [
        (ALL, 8, (None, None)),
        (ALL, 3, (None, None)),
        ([], 8, (None, None)),
        (["k"], 8, ("is a graph input", None)),
        (["var4"], 8, (None, "its variance is a graph input")),
        (["k", "gamma4"], 3, (None, None)),
    ],
)
def test_defaults_of_graph_inputs(names: list[str], ir_version: int, obstacles: tuple[str | None, ...]) -> None:
    """A few are an interface; all are a habit of old exporters."""
    graph = read(listed(names, ir_version))
    norm = only(graph, Norm).detail
    assert isinstance(norm, Norm)
    assert (weight(graph, "a").obstacle, norm.obstacle) == obstacles
    assert graph.inputs == ("x",)


def test_large_and_external_weights_are_read_when_asked(tmp_path: Path) -> None:
    text = "g (float[N,512] x) => (y) { t = Transpose(w)  y = MatMul(x, t) }"
    model = from_text(text, w=RNG.normal(size=(700, 512)).astype(np.float32))
    expected = numpy_helper.to_array(model.graph.initializer[0]).T
    external_data_helper.convert_model_to_external_data(model, location="data.bin", size_threshold=0)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    loaded = onnx.load(path, load_external_data=False)
    found = weight(read(loaded, path), "y")
    assert found.shape == (512, 700)
    np.testing.assert_array_equal(found.read(), expected)
    (tmp_path / "data.bin").unlink()
    lost = weight(read(loaded, path), "y")  # nothing is read before it is asked for
    with pytest.raises(InputError, match="missing"):
        lost.read()


def test_large_weights_are_not_copied() -> None:
    text = "g (float[N,2048] x) => (y) { t = Transpose(w)  a = MatMul(x, t)  y = Gemm(a, w) }"
    model = from_text(text, w=np.zeros((2048, 2048), np.float32))
    tracemalloc.start()
    graph = read(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the weight has 16.8 MB
    assert weight(graph, "y").shared_with == ("a",)


def test_two_gigabytes_cost_nothing(tmp_path: Path) -> None:
    """A hole in a file, and a plan that never looks into it."""
    model = from_text("g (float[N,30000] x) => (y) { y = MatMul(x, w) }", w=np.zeros((1, 1), np.float32))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [30000, 30000]
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="data.bin")
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(30000 * 30000 * 4)
    found = weight(read(model, tmp_path / "model.onnx"), "y")
    assert found.shape == (30000, 30000)
    assert found.read()[0, 0] == 0


def test_a_damaged_weight_is_an_input_error() -> None:
    model = from_text("g (float[N,4] x) => (y) { y = MatMul(x, w) }", w=W)
    model.graph.initializer[0].raw_data = b"1234"
    with pytest.raises(InputError, match="damaged"):
        weight(read(model), "y").read()
