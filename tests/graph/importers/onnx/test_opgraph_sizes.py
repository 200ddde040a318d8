"""Dimensions: exact where they are known, one assignment of numbers to symbols where they are free."""

from __future__ import annotations

from itertools import product as product_of

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from normdiag.graph.importers.onnx.reshape_rules import reshaped
from normdiag.graph.sizes import product
from normdiag.records import Size
from tests.graph.importers.onnx.graph_checks import check, check_text, read, read_text
from tests.nets.onnx.nodes import from_nodes
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import random_feeds

N = Size(1, ("N",))


def known(*dims: int) -> tuple[Size, ...]:
    return tuple(map(Size, dims))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Flatten(x)", (N, Size(60))),
        ("y = Flatten<axis=0>(x)", (Size(1), Size(60, ("N",)))),
        ("y = Flatten<axis=2>(x)", (Size(4, ("N",)), Size(15))),
        ("y = Reshape(x, rows)", (N, Size(60))),
        ("y = Reshape(x, columns)", (Size(4, ("N",)), Size(15))),
        ("y = Reshape(x, split)", (N, *known(2, 2, 3, 5))),
        ("a = Reshape(x, columns)  y = Reshape(a, back)", (N, *known(4, 3, 5))),
        ("y = Conv<pads=[1, 1, 1, 1]>(x, w)", (N, *known(2, 3, 5))),
        ("y = MaxPool<kernel_shape=[2, 2], strides=[1, 2]>(x)", (N, *known(4, 2, 2))),
        ("y = ConvTranspose<strides=[2, 2]>(x, v)", (N, *known(2, 6, 10))),
        ("y = Transpose(x)", (*known(5, 3, 4), N)),
        ("y = ReduceMean<axes=[2, 3], keepdims=0>(x)", (N, Size(4))),
        ("y = Concat<axis=1>(x, x)", (N, *known(8, 3, 5))),
        ("y = Resize(x, , double)", (Size(1, ("N",)), *known(4, 6, 10))),
    ],
)
def test_sizes(body: str, expected: tuple[Size, ...]) -> None:
    arrays = {
        "rows": np.array([0, -1]),
        "columns": np.array([-1, 15]),
        "split": np.array([0, 2, 2, 3, 5]),
        "back": np.array([-1, 4, 3, 5]),
        "w": np.ones((2, 4, 3, 3), np.float32),
        "v": np.ones((4, 2, 2, 2), np.float32),
        "double": np.array([1, 1, 2, 2], np.float32),
    }
    assert check_text(f"g (float[N,4,3,5] x) => (y) {{ {body} }}", 13, **arrays).sizes["y"] == expected


KERNELS = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1))  # and how much is padded at either end


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool", "LpPool"])
def test_windows_that_begin_behind_the_data_are_not_counted(kind: str) -> None:
    """All is as onnxruntime does it, after other operations too, or else not known: where it differs from ONNX."""
    unknown = 0
    for size, (kernel, pad), step in product_of((5, 6, 7), KERNELS, (1, 2, 3)):
        pool = f"{kind}<kernel_shape=[{kernel}], strides=[{step}], pads=[{pad}, {pad}], ceil_mode=1>(x)"
        graph = check_text(f"g (float[N,4,{size}] x) => (y) {{ a = {pool}  b = Relu(a)  y = Sin(b) }}", 18)
        assert graph.sizes["b"][:2] == (N, Size(4))
        assert len(graph.sizes["y"]) == 3
        unknown += graph.sizes["b"][2].known is None
    assert unknown == 9


# What the TorchScript exporter writes for view, flatten, channel shuffle and interpolate; name: (body, sizes of y).
COMPUTED = {
    "view": (
        "s = Shape(x)  n = Gather(s, first)  u = Unsqueeze(n, at)  t = Concat<axis=0>(u, rest)  y = Reshape(x, t)",
        (N, Size(60)),
    ),
    "view by slice": (
        "s = Shape(x)  n = Slice(s, at, one_, at)  t = Concat<axis=0>(n, rest)  y = Reshape(x, t)",
        (N, Size(60)),
    ),
    "computed product": (
        "s = Shape(x)  n = Gather(s, first)  c = Gather(s, second)  m = Mul(n, c)  u = Unsqueeze(m, at)"
        "  t = Concat<axis=0>(u, rest)  y = Reshape(x, t)",
        (Size(4, ("N",)), Size(15)),
    ),
    "computed quotient": (
        "s = Shape(x)  n = Gather(s, first)  c = Gather(s, second)  h = Div(c, second_two)  u = Unsqueeze(n, at)"
        "  v = Unsqueeze(h, at)  t = Concat<axis=0>(u, v, rest)  y = Reshape(x, t)",
        (N, Size(2), Size(30)),
    ),
    "of a part of a shape": (
        "s = Shape<end=2>(x)  t = Concat<axis=0>(s, rest)  y = Reshape(x, t)",
        (N, Size(4), Size(15)),
    ),
    "through casts": (
        "s = Shape(x)  i = Cast<to=6>(s)  n = Slice(i, at, one_)  j = Cast<to=7>(n)  t = Concat<axis=0>(j, rest)"
        "  y = Reshape(x, t)",
        (N, Size(60)),
    ),
    "resize": (
        "s = Shape(x)  n = Slice(s, at, two_)  t = Concat<axis=0>(n, large)  y = Resize(x, , , t)",
        (N, *known(4, 6, 10)),
    ),
    "expand": ("s = Shape(x)  o = Slice(x, at, one_, at_two)  y = Expand(o, s)", (N, *known(4, 3, 5))),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_shapes_that_the_graph_computes(case: str) -> None:
    body, expected = COMPUTED[case]
    arrays = {
        "first": np.array(0),
        "second": np.array(1),
        "second_two": np.array(2),
        "at": np.array([0]),
        "at_two": np.array([2]),
        "one_": np.array([1]),
        "two_": np.array([2]),
        "rest": np.array([-1]),
        "large": np.array([6, 10]),
    }
    assert check_text(f"g (float[N,4,3,5] x) => (y) {{ {body} }}", **arrays).sizes["y"] == expected


def test_unnamed_dimensions_have_names_of_their_own() -> None:
    sizes = read_text("g (float[?,4,?] x, float[?] z) => (y) { y = Flatten(x) }").sizes
    (batch, channels, length), (other,) = sizes["x"], sizes["z"]
    assert channels == Size(4)
    assert len({batch, length, other}) == 3
    assert sizes["y"] == (batch, product((channels, length)))


def test_what_the_file_declares_of_its_own_tensors_is_not_believed() -> None:
    model = from_text("g (float[N,4,3] x) => (float[N,9] y) { a = Relu(x)  y = Flatten(a) }")
    model.graph.value_info.append(helper.make_tensor_value_info("a", 1, [7, 7]))
    graph = read(model)
    assert graph.sizes["a"] == (N, *known(4, 3))
    assert graph.sizes["y"] == (N, Size(12))


def test_an_unknown_operation_ends_what_is_known() -> None:
    model = from_text(
        "g (float[N,4] x) => (y) { a = other.Op(x)  b = Relu(a)  y = Gemm(b, w) }",
        17,
        ("other",),
        w=np.ones((4, 2), np.float32),
    )
    graph = read(model)
    assert "b" not in graph.sizes
    assert graph.sizes["y"][1] == Size(2)
    assert graph.dtypes["y"] == "float32"


SIZES = st.builds(
    lambda factor, symbols: Size(factor, tuple(sorted(symbols))),
    st.integers(1, 6),
    st.lists(st.sampled_from("abc"), max_size=2),
)


@given(st.lists(SIZES, min_size=1, max_size=4), st.data())
def test_a_reshape_keeps_the_number_of_elements(sizes: list[Size], data: st.DataObject) -> None:
    """What -1 stands for is the rest, whatever was merged before it."""
    cut = data.draw(st.integers(0, len(sizes)))
    target = [product(sizes[:cut]), *([None] if data.draw(st.booleans()) else [Size(-1)])]
    found = reshaped(tuple(sizes), tuple(target))
    assert None not in found
    assert product(size for size in found if size is not None) == product(sizes)
    assert found[1] == product(sizes[cut:])


PLAIN = ["relu", "conv", "strided", "pool", "transpose", "flatten", "fold", "unfold", "slice", "concat", "mean", "up"]
STEPS = st.sampled_from([*PLAIN, "squeeze", "view", "shuffle", "split", "matmul", "expand"])


def grown(steps: list[str]) -> onnx.ModelProto:
    """A graph of these steps; one that does not fit the rank it meets is left out."""
    nodes: list[onnx.NodeProto] = []
    stored: dict[str, np.ndarray] = {
        "w4": np.ones((3, 4, 2, 2), np.float32),
        "lead": np.array([0, 0]),
        "fold": np.array([0, -1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([2**62]),
        "minus": np.array([-1]),
        "index": np.array(0),
        "unfold": np.array([0, 2, -1]),
        "ones": np.ones(4, np.int64),
        "double": np.array([1, 1, 2, 2], np.float32),
    }
    x = "x"
    for i, step in enumerate(steps):
        made = _step(step, x, f"t{i}")
        nodes += made
        x = made[-1].output[0]
    return from_nodes(nodes, {"x": ["N", 4, "H", 6]}, [x], stored)


def _step(step: str, x: str, y: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    shape = node("Shape", [x], [f"{y}s"])
    simple = {
        "relu": node("Relu", [x], [y]),
        "conv": node("Conv", [x, "w4"], [y], auto_pad="SAME_UPPER"),
        "strided": node("Conv", [x, "w4"], [y], strides=[2, 1], pads=[1, 0, 0, 1]),
        "pool": node("MaxPool", [x], [y], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        "transpose": node("Transpose", [x], [y]),
        "flatten": node("Flatten", [x], [y], axis=2),
        "fold": node("Reshape", [x, "fold"], [y]),
        "unfold": node("Reshape", [x, "unfold"], [y]),
        "slice": node("Slice", [x, "one", "last", "one"], [y]),
        "concat": node("Concat", [x, x], [y], axis=-1),
        "mean": node("ReduceMean", [x], [y], axes=[-1], keepdims=1),
        "up": node("Resize", [x, "", "double"], [y]),
        "squeeze": node("Unsqueeze", [x, "one"], [y]),
    }
    if step in simple:
        return [simple[step]]
    if step == "view":
        parts = [
            node("Gather", [shape.output[0], "zero"], [f"{y}n"]),
            node("Concat", [f"{y}n", "minus"], [f"{y}t"], axis=0),
        ]
        return [shape, *parts, node("Reshape", [x, f"{y}t"], [y])]
    if step == "shuffle":
        parts = [
            node("Slice", [shape.output[0], "zero", "one"], [f"{y}n"]),
            node("Slice", [shape.output[0], "one", "last"], [f"{y}r"]),
            node("Concat", [f"{y}r", f"{y}n"], [f"{y}t"], axis=0),
        ]
        return [shape, *parts, node("Reshape", [x, f"{y}t"], [y])]
    if step == "split":
        return [node("Split", [x], [y, f"{y}b"], axis=0)]
    if step == "matmul":
        return [node("Transpose", [x], [f"{y}a"]), node("MatMul", [x, x], [y])]
    return [shape, node("Expand", [x, shape.output[0]], [y])]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.lists(STEPS, min_size=1, max_size=6), st.integers(1, 4), st.integers(3, 8))
def test_random_graphs(steps: list[str], batch: int, height: int) -> None:
    """Whatever runs has the sizes that were told, and keeps elements where it is said to."""
    model = grown(steps)
    feeds = random_feeds(model, {"N": batch, "H": height})
    read(model)  # also what does not run is read
    try:
        check(model, feeds)
    except Exception as error:
        if "onnxruntime" not in type(error).__module__:
            raise
