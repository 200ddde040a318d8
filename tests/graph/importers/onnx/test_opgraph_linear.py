import numpy as np
import pytest

from normdiag.records import Add, Conv, Linear
from tests.graph.importers.onnx.graph_checks import by_output, check_text, only, read, read_text, why
from tests.nets.onnx.text import from_text

RNG = np.random.default_rng(0)
IMAGE = "g (float[N,4,6,5] x) => (y)"


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


CONVS = {
    "plain": ("Conv(x, w)", (8, 4, 3, 3), False),
    "padded": ("Conv<pads=[0, 1, 0, 0]>(x, w)", (8, 4, 3, 3), True),
    "strided": ("Conv<strides=[2, 1], dilations=[1, 2]>(x, w)", (8, 4, 2, 2), False),
    "same": ('Conv<auto_pad="SAME_UPPER">(x, w)', (8, 4, 3, 3), True),
    "same, one position": ('Conv<auto_pad="SAME_LOWER", strides=[2, 2]>(x, w)', (8, 4, 1, 1), False),
    "valid": ('Conv<auto_pad="VALID">(x, w)', (8, 4, 3, 3), False),
    "groups": ("Conv<group=2>(x, w)", (6, 2, 1, 1), False),
    "depthwise": ("Conv<group=4, pads=[1, 1, 1, 1]>(x, w)", (8, 1, 3, 3), True),
}


@pytest.mark.parametrize("case", CONVS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(case: str, bias: bool) -> None:
    call, shape, padded = CONVS[case]
    call = call.replace("w)", "w, b)") if bias else call
    graph = check_text(f"{IMAGE} {{ y = {call} }}", w=normal(*shape), b=normal(shape[0]))
    op = only(graph, Conv)
    assert (op.kind, op.inputs, op.outputs) == ("conv", ("x",), ("y",))
    assert isinstance(op.detail, Conv)
    assert (op.detail.padded, op.detail.transposed, op.detail.groups) == (padded, False, 4 // shape[1])
    assert (op.detail.bias is not None) == bias
    assert op.detail.weight.shape == shape


@pytest.mark.parametrize(
    ("call", "shape", "padded"),
    [
        ("ConvTranspose(x, w)", (4, 6, 1, 1), False),
        ("ConvTranspose(x, w)", (4, 6, 3, 3), True),
        ("ConvTranspose<pads=[2, 2, 2, 2]>(x, w)", (4, 6, 3, 3), False),
        ("ConvTranspose<pads=[2, 2, 2, 1]>(x, w)", (4, 6, 3, 3), True),
        ("ConvTranspose<pads=[2, 4, 2, 4], dilations=[1, 2]>(x, w)", (4, 6, 3, 3), False),
        ("ConvTranspose<strides=[2, 2]>(x, w)", (4, 6, 2, 2), True),
        ("ConvTranspose<strides=[2, 2], output_padding=[1, 1], group=2>(x, w)", (4, 3, 3, 3), True),
        ('ConvTranspose<auto_pad="SAME_UPPER", strides=[2, 2]>(x, w)', (4, 6, 3, 3), True),
        ("ConvTranspose<output_shape=[9, 9], strides=[2, 2]>(x, w)", (4, 6, 3, 3), True),
    ],
)
def test_conv_transpose(call: str, shape: tuple[int, ...], padded: bool) -> None:
    graph = check_text(f"{IMAGE} {{ y = {call} }}", w=normal(*shape))
    detail = only(graph, Conv).detail
    assert isinstance(detail, Conv)
    assert (detail.transposed, detail.padded, detail.groups) == (True, padded, 6 // shape[1])


@pytest.mark.parametrize(("rank", "dims"), [(3, "9"), (5, "4,5,6")])
def test_conv_of_other_ranks(rank: int, dims: str) -> None:
    weight = normal(*(2, 3, *(2,) * (rank - 2)))
    graph = check_text(f"g (float[N,3,{dims}] x) => (y) {{ y = Conv(x, w, b) }}", w=weight, b=normal(2))
    assert len(graph.sizes["y"]) == rank


def test_an_empty_bias_name_is_none() -> None:
    model = from_text(f"{IMAGE} {{ y = Conv(x, w) }}", w=normal(2, 4, 1, 1))
    model.graph.node[0].input.append("")
    detail = only(read(model), Conv).detail
    assert isinstance(detail, Conv)
    assert detail.bias is None


GEMMS = {
    "plain": ("Gemm(x, w)", (4, 6), None),
    "transB": ("Gemm<transB=1>(x, w)", (6, 4), None),
    "bias": ("Gemm<transB=1>(x, w, c)", (6, 4), (6,)),
    "alpha and beta": ("Gemm<alpha=0.5, beta=-2.0>(x, w, c)", (4, 6), (1, 6)),
    "scalar": ("Gemm(x, w, c)", (4, 6), ()),
    "each row": ("Gemm(x, w, c)", (4, 6), (3, 1)),
    "matrix": ("Gemm(x, w, c)", (4, 6), (3, 6)),
}


@pytest.mark.parametrize("case", GEMMS)
def test_gemm(case: str) -> None:
    call, shape, bias = GEMMS[case]
    arrays = {"w": normal(*shape)} | ({} if bias is None else {"c": np.asarray(normal(*bias), np.float32)})
    graph = check_text(f"g (float[3,4] x) => (y) {{ y = {call} }}", **arrays)
    detail = only(graph, Linear).detail
    assert isinstance(detail, Linear)
    assert detail.weight.shape[detail.out_axis] == 6
    assert detail.weight.shape[detail.in_axis] == 4
    assert (detail.bias is None) == (bias is None)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_the_constant_first(transposed: int) -> None:
    weight = normal(4, 6) if transposed else normal(6, 4)
    graph = check_text(
        f"g (float[4,3] x) => (y) {{ y = Gemm<transA={transposed}>(w, x, c) }}", w=weight, c=normal(6, 1)
    )
    detail = only(graph, Linear).detail
    assert isinstance(detail, Linear)
    assert detail.channel_axis == -2


@pytest.mark.parametrize(
    ("call", "axes"), [("Gemm<transA=1, transB=1>(x, w, c)", (-2, -1)), ("Gemm<transB=1>(w, x)", (-1, -2))]
)
def test_gemm_that_transposes_its_input(call: str, axes: tuple[int, int]) -> None:
    """Channels change their place: from one axis of the input to the other of the output."""
    shape = "4,3" if axes[0] == -2 else "3,4"
    graph = check_text(f"g (float[{shape}] x) => (y) {{ y = {call} }}", w=normal(6, 4), c=normal(6))
    detail = only(graph, Linear).detail
    assert isinstance(detail, Linear)
    assert (detail.input_axis, detail.channel_axis) == axes


@pytest.mark.parametrize(
    ("call", "shape", "channel_axis"),
    [
        ("MatMul(x, w)", (5, 6), -1),
        ("MatMul(x, w)", (3, 5, 6), -1),
        ("MatMul(x, w)", (2, 1, 5, 6), -1),
        ("MatMul(w, x)", (6, 4), -2),
        ("MatMul(w, x)", (3, 6, 4), -2),
    ],
)
def test_matmul(call: str, shape: tuple[int, ...], channel_axis: int) -> None:
    graph = check_text(f"g (float[3,4,5] x) => (y) {{ y = {call} }}", w=normal(*shape))
    detail = only(graph, Linear).detail
    assert isinstance(detail, Linear)
    assert detail.channel_axis == channel_axis
    assert detail.weight.shape[detail.out_axis] == 6


def test_matmul_of_two_tensors_or_with_a_vector() -> None:
    graph = check_text("g (float[3,4] x, float[4,2] z) => (y) { y = MatMul(x, z) }")
    assert why(graph, "y") == "a product of two tensors"
    graph = check_text("g (float[3,4] x) => (y) { y = MatMul(x, v) }", v=normal(4))
    assert why(graph, "y") == "a product with a vector"


@pytest.mark.parametrize("shape", [(6,), (), (1,), (1, 1, 6), (1, 4, 1), (1, 4, 6)])
@pytest.mark.parametrize("add", ["Add(p, b)", "Add(b, p)"])
def test_matmul_and_add_are_one(shape: tuple[int, ...], add: str) -> None:
    text = f"g (float[N,4,5] x) => (y) {{ p = MatMul(x, w)  y = {add} }}"
    graph = check_text(text, w=normal(5, 6), b=np.asarray(normal(*shape), np.float32))
    op = only(graph, Linear)
    assert (op.operator, op.nodes, op.outputs) == ("MatMul+Add", (0, 1), ("y",))
    assert isinstance(op.detail, Linear)
    assert op.detail.bias is not None


@pytest.mark.parametrize(
    ("outputs", "body", "shape"),
    [
        ("y, p", "p = MatMul(x, w)  y = Add(p, b)", (6,)),
        ("y, z", "p = MatMul(x, w)  y = Add(p, b)  z = Relu(p)", (6,)),
        ("y, z", "p = MatMul(x, w)  y = Add(p, b)  z = Shape(p)", (6,)),
        ("y", "p = MatMul(x, w)  y = Add(p, p)", (6,)),
        ("y", "p = MatMul(x, w)  y = Add(p, b)", (2, 4, 6)),
        ("y", "p = MatMul(x, w)  y = Add(p, b)", (2, 1, 4, 6)),
    ],
)
def test_matmul_and_add_that_stay_apart(outputs: str, body: str, shape: tuple[int, ...]) -> None:
    """The product is used elsewhere, or the sum is larger than the product may be."""
    graph = check_text(
        f"g (float[N,4,5] x) => ({outputs}) {{ {body} }}", w=normal(5, 6), b=normal(*shape), dims={"N": 2}
    )
    assert only(graph, Linear).operator == "MatMul"


def test_an_added_position_is_a_branch() -> None:
    graph = check_text("g (float[N,4,5] x) => (y) { y = Add(x, p) }", p=normal(1, 4, 5))
    op = only(graph, Add)
    assert op.inputs == ("x", "p")
    constant = by_output(graph, "p")
    assert (constant.kind, constant.inputs, constant.nodes) == ("constant", (), ())


@pytest.mark.parametrize(
    "call",
    [
        "Conv(x, z)",
        "Conv<group=3>(x, w)",
        "Conv<pads=[1, 1]>(x, w)",
        'Conv<group="2">(x, w)',
        "Conv<strides=1.5>(x, w)",
        "Conv<pads=[1, 1, 1, 1, 1, 1]>(x, w)",
        "Conv(x, w, z)",
        "Conv(x, w, w)",
        "Gemm(x, z)",
        "Gemm(x, w)",
        "MatMul(x)",
        "Conv(x)",
        "ConvTranspose<strides=[1]>(x, w)",
    ],
)
def test_what_does_not_fit_is_opaque(call: str) -> None:
    graph = read_text(f"g (float[N,4,6,5] x, float[2,4,3,3] z) => (y) {{ y = {call} }}", w=normal(2, 4, 3, 3))
    assert why(graph, "y")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("Div(one, x)", "a nonlinearity"),
        ("Mul(x, nothing)", "whose constant is not finite"),
        ("Div(x, endless)", "whose constant is not finite"),
        ("Add(nothing, x)", "whose constant is not finite"),
        ("Div(x, zero)", "which divides by zero"),
        ("Mul(x, plane)", "a product with a constant that is no number for each channel"),
        ("Mul(x, x)", "a product of two tensors"),
        ("Div(x, x)", "a quotient of two tensors"),
    ],
)
def test_why_arithmetic_is_no_map_of_each_channel(call: str, reason: str) -> None:
    numbers = {"one": 1.0, "zero": 0.0, "nothing": np.nan}
    constants = {name: np.array(value, np.float32) for name, value in numbers.items()}
    constants |= {"endless": np.full((3, 1), np.inf, np.float32), "plane": np.ones((3, 4), np.float32)}
    assert why(read_text(f"g (float[N,2,3,4] x) => (y) {{ y = {call} }}", 17, **constants), "y") == reason
