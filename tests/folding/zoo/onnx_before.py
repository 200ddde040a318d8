"""ONNX: norms that go into the layer right before them."""

from __future__ import annotations

from functools import partial

import numpy as np

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()
SPACE = {1: (7,), 2: (5, 4), 3: (4, 3, 3)}
WINDOWS = {
    "plain": {},
    "stride": {"strides": 2},
    "dilation": {"dilations": 2},
    "pads": {"pads": 1},
    "same_upper": {"auto_pad": "SAME_UPPER", "strides": 2},
    "same_lower": {"auto_pad": "SAME_LOWER"},
    "valid": {"auto_pad": "VALID"},
}
GROUPS = {"one": (4, 6, 1), "two": (4, 6, 2), "depthwise": (4, 4, 4), "multiplied": (3, 6, 3)}


def window(name: str, rank: int) -> dict[str, object]:
    """The attributes in the number of spatial axes."""
    attributes: dict[str, object] = dict(WINDOWS[name])
    for key in ("strides", "dilations"):
        if key in attributes:
            attributes[key] = [attributes[key]] * rank
    if "pads" in attributes:
        attributes["pads"] = [1] * rank + [0] * rank
    return attributes


def conv(g: OnnxNet, rank: int, groups: str, view: str, bias: bool) -> None:
    inputs, outputs, number = GROUPS[groups]
    x = g.input("N", inputs, *SPACE[rank])
    y = g.conv(x, inputs, outputs, 2, rank=rank, groups=number, bias=bias, **window(view, rank))
    g.output(g.op("Relu", g.bn(y, outputs)))


for _rank in (1, 2, 3):
    for _turn, _groups in enumerate(GROUPS):
        for _view in WINDOWS if _rank == 2 else ("plain", list(WINDOWS)[1 + (_turn + _rank) % 6]):
            _bias = (_turn + len(_view)) % 2 == 0
            ZOO.add(
                f"conv{_rank}d_{_groups}_{_view}_{'bias' if _bias else 'no_bias'}",
                partial(conv, rank=_rank, groups=_groups, view=_view, bias=_bias),
                "Conv Relu",
            )

UPWARD = {
    "plain": {},
    "stride": {"strides": 2},
    "output_padding": {"strides": 3, "output_padding": 1, "pads": 1},
    "dilation": {"dilations": 2},
    "same_upper": {"auto_pad": "SAME_UPPER", "strides": 2},
}


def conv_transpose(g: OnnxNet, rank: int, groups: str, view: str, bias: bool) -> None:
    inputs, outputs, number = GROUPS[groups]
    attributes: dict[str, object] = dict(UPWARD[view])
    for key in ("strides", "dilations", "output_padding"):
        if key in attributes:
            attributes[key] = [attributes[key]] * rank
    if "pads" in attributes:
        attributes["pads"] = [1, 0] * rank
    x = g.input("N", inputs, *SPACE[rank])
    y = g.conv(x, inputs, outputs, 3, rank=rank, groups=number, bias=bias, transposed=True, **attributes)
    g.output(g.op("Relu", g.bn(y, outputs)))


for _rank in (1, 2, 3):
    for _turn, _groups in enumerate(GROUPS):
        for _view in UPWARD if _rank == 2 else ("plain", list(UPWARD)[1 + (_turn + _rank) % 3]):
            if _rank == 3 and _groups == "multiplied":
                continue
            _bias = (_turn + len(_view)) % 2 == 0
            ZOO.add(
                f"conv_transpose{_rank}d_{_groups}_{_view}_{'bias' if _bias else 'no_bias'}",
                partial(conv_transpose, rank=_rank, groups=_groups, view=_view, bias=_bias),
                "ConvTranspose Relu",
            )

GEMMS = [
    (0, 0, 1.0, 1.0, "vector"),
    (0, 1, 1.0, 1.0, "vector"),
    (1, 0, 1.0, 1.0, "vector"),
    (1, 1, 0.5, 1.0, "row"),
    (0, 1, 0.5, 0.5, "vector"),
    (0, 0, 0.5, 0.0, "vector"),
    (0, 1, 1.0, 0.5, "scalar"),
    (0, 0, 1.0, 0.5, "one"),
    (0, 1, 2.0, 1.0, "matrix"),
    (0, 0, 1.0, 0.5, "column"),
    (0, 1, 0.5, 1.0, "absent"),
    (0, 0, -1.0, 0.5, "empty"),
    (0, 1, 0.0, 1.0, "vector"),
]


@ZOO.each("gemm", GEMMS, "Gemm Relu")
def gemm(g: OnnxNet, value: tuple[int, int, float, float, str]) -> None:
    trans_a, trans_b, alpha, beta, addend = value
    rows: int | str = 3 if addend in ("matrix", "column") else "N"
    x = g.input(*((5, rows) if trans_a else (rows, 5)))
    weight = g.value(g.normal(4, 5) if trans_b else g.normal(5, 4))
    shapes = {"vector": (4,), "row": (1, 4), "scalar": (), "one": (1,), "matrix": (3, 4), "column": (3, 1)}
    extra = [g.value(g.normal(*shapes[addend]))] if addend in shapes else [""] if addend == "empty" else []
    if addend in ("absent", "empty") and g.opset < 11:
        extra = [g.value(np.zeros(4))]
    y = g.op("Gemm", x, weight, *extra, transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.case("MatMul Add Relu|Gemm Relu")
def matmul_alone(g: OnnxNet) -> None:
    x = g.input("N", 5)
    g.output(g.op("Relu", g.bn(g.op("MatMul", x, g.value(g.normal(5, 4))), 4)))


@ZOO.each("matmul_add", ["vector", "vector_first", "row", "scalar"], "MatMul Add Relu|Gemm Relu")
def matmul_add(g: OnnxNet, addend: str) -> None:
    x = g.input("N", 5)
    y = g.op("MatMul", x, g.value(g.normal(5, 4)))
    bias = g.value(g.normal(*{"row": (1, 4), "scalar": ()}.get(addend, (4,))))
    y = g.op("Add", bias, y) if addend == "vector_first" else g.op("Add", y, bias)
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.each("matmul_left", [(4, 5), (1, 4, 5)], "MatMul Add Relu")
def matmul_left(g: OnnxNet, shape: tuple[int, ...]) -> None:
    """W @ x with the channels of the norm along the rows of W."""
    x = g.input("N", 5, 6)
    g.output(g.op("Relu", g.bn(g.op("MatMul", g.value(g.normal(*shape)), x), 4)))


@ZOO.case("MatMul Add Relu")
def matmul_left_add(g: OnnxNet) -> None:
    x = g.input("N", 5, 6)
    y = g.op("Add", g.op("MatMul", g.value(g.normal(4, 5)), x), g.value(g.normal(4, 1)))
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.case("MatMul Add Relu")
def matmul_left_add_of_everything(g: OnnxNet) -> None:
    x = g.input("N", 5, 6)
    y = g.op("Add", g.op("MatMul", g.value(g.normal(4, 5)), x), g.value(g.normal(4, 6)))
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.each("matmul_right", [(5, 4), (1, 5, 4)], "MatMul Add Transpose Relu|MatMul Transpose Add Relu")
def matmul_right_of_tokens(g: OnnxNet, shape: tuple[int, ...]) -> None:
    x = g.input("N", 6, 5)
    y = g.op("Add", g.op("MatMul", x, g.value(g.normal(*shape))), g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(g.op("Transpose", y, perm=[0, 2, 1]), 4)))


@ZOO.case("MatMul Add BatchNormalization Relu", folded=0, refused=("",))
def matmul_rows_are_the_channels(g: OnnxNet) -> None:
    """The norm scales tokens, the product mixes features: the shift of a token is no bias of the layer."""
    x = g.input("N", 6, 5)
    y = g.op("Add", g.op("MatMul", x, g.value(g.normal(5, 4))), g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(y, 6)))


@ZOO.each("epsilon", [1e-5, 1e-3, 0.1], "Conv Relu", opset=17)
def epsilon(g: OnnxNet, value: float) -> None:
    """The attribute is a float32, so that in float64 too it is not the decimal number that was written down."""
    g.output(g.op("Relu", g.bn(g.conv(g.input("N", 3, 6, 5), 3, 4), 4, epsilon=value)))


@ZOO.case("Conv Relu", folded=2)
def two_norms_behind_a_convolution(g: OnnxNet) -> None:
    y = g.conv(g.input("N", 3, 6, 5), 3, 4)
    g.output(g.op("Relu", g.bn(g.bn(y, 4), 4)))


@ZOO.case("Gemm Relu", folded=3)
def three_norms_behind_a_gemm(g: OnnxNet) -> None:
    y = g.op("Gemm", g.input("N", 5), g.value(g.normal(5, 4)), g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(g.bn(g.bn(y, 4), 4), 4)))


@ZOO.case("Relu Conv Relu", folded=2)
def two_norms_between_relu_and_convolution(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 6, 5))
    g.output(g.op("Relu", g.conv(g.bn(g.bn(x, 4), 4), 4, 3)))


@ZOO.case("Relu BatchNormalization Relu", folded=1, refused=("Relu|nonlinear|input",))
def two_norms_between_nonlinearities(g: OnnxNet) -> None:
    """One absorbs the other."""
    x = g.op("Relu", g.input("N", 4, 6, 5))
    g.output(g.op("Relu", g.bn(g.bn(x, 4), 4)))


@ZOO.case("InstanceNormalization Relu")
def norm_behind_an_instance_norm(g: OnnxNet) -> None:
    y = g.op("InstanceNormalization", g.input("N", 4, 6, 5), g.value(g.normal(4)), g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(y, 4)))


IN_PIECES = "ReduceMean Sub Mul ReduceMean Add Sqrt Div Mul Add"


@ZOO.case(f"{IN_PIECES} Relu|{IN_PIECES} BatchNormalization Relu", opset=17, folded=None)
def norm_behind_a_decomposed_instance_norm(g: OnnxNet) -> None:
    x = g.input("N", 4, 6, 5)
    centred = str(g.op("Sub", x, g.mean(x, 2, 3)))
    root = g.op("Sqrt", g.op("Add", g.mean(str(g.op("Mul", centred, centred)), 2, 3), g.value(1e-3)))
    y = g.op("Mul", g.op("Div", centred, root), per_channel(g, 4, "gamma"))
    g.output(g.op("Relu", g.bn(str(g.op("Add", y, per_channel(g, 4, "beta"))), 4)))


def per_channel(g: OnnxNet, channels: int, kind: str) -> str:
    values = {
        "gamma": g.normal(channels),
        "beta": g.normal(channels),
        "mean": g.normal(channels),
        "deviation": g.random.uniform(0.5, 2, channels),
        "inverse": g.random.uniform(0.5, 2, channels),
    }
    return g.value(values[kind].reshape(-1, 1, 1))


@ZOO.each("decomposed", ["div", "mul", "constant_first"], "Conv Relu", folded=1)
def decomposed(g: OnnxNet, how: str) -> None:
    y = g.op("Sub", g.conv(g.input("N", 3, 6, 5), 3, 4), per_channel(g, 4, "mean"))
    y = g.op("Mul", y, per_channel(g, 4, "inverse")) if how == "mul" else g.op("Div", y, per_channel(g, 4, "deviation"))
    gamma, beta = per_channel(g, 4, "gamma"), per_channel(g, 4, "beta")
    y = g.op("Mul", gamma, y) if how == "constant_first" else g.op("Mul", y, gamma)
    g.output(g.op("Relu", g.op("Add", beta, y) if how == "constant_first" else g.op("Add", y, beta)))


@ZOO.case("Conv Relu", folded=1)
def decomposed_with_its_root_in_the_graph(g: OnnxNet) -> None:
    """x - mean over Sqrt(var + eps), where the root is computed from constants by nodes."""
    y = g.op("Sub", g.conv(g.input("N", 3, 6, 5), 3, 4), per_channel(g, 4, "mean"))
    root = g.op("Sqrt", g.op("Add", g.value(g.random.uniform(0.2, 2, (4, 1, 1))), g.value(1e-3)))
    y = g.op("Mul", g.op("Div", y, root), per_channel(g, 4, "gamma"))
    g.output(g.op("Relu", g.op("Add", y, per_channel(g, 4, "beta"))))


@ZOO.each("plain", ["Mul", "Add", "Sub", "Div", "MulAdd", "AddMul"], "Conv Relu", folded=None)
def plain(g: OnnxNet, chain: str) -> None:
    y = g.conv(g.input("N", 3, 6, 5), 3, 4)
    for kind in {"MulAdd": ("Mul", "Add"), "AddMul": ("Add", "Mul")}.get(chain, (chain,)):
        y = g.op(kind, y, per_channel(g, 4, "deviation" if kind == "Div" else "gamma"))
    g.output(g.op("Relu", y))


@ZOO.case("Conv Relu", folded=None)
def taken_from_a_constant(g: OnnxNet) -> None:
    """c - x: the scale is -1."""
    y = g.conv(g.input("N", 3, 6, 5), 3, 4)
    g.output(g.op("Relu", g.op("Sub", per_channel(g, 4, "beta"), y)))


@ZOO.case("Conv Mul Relu", folded=0)
def scale_along_the_width(g: OnnxNet) -> None:
    """Four channels and a width of four: the constant varies along the width."""
    y = g.conv(g.input("N", 3, 6, 4), 3, 4, 1)
    g.output(g.op("Relu", g.op("Mul", y, g.value(g.normal(4)))))


@ZOO.case("Conv Add Relu", folded=0)
def shift_of_every_position(g: OnnxNet) -> None:
    y = g.conv(g.input("N", 3, 6, 5), 3, 4, 1)
    g.output(g.op("Relu", g.op("Add", y, g.value(g.normal(4, 6, 5)))))


@ZOO.case("Conv Relu", folded=None)
def norm_then_plain_scale(g: OnnxNet) -> None:
    """What exporters leave of LayerScale and of input preprocessing."""
    y = g.bn(g.conv(g.input("N", 3, 6, 5), 3, 4), 4)
    g.output(g.op("Relu", g.op("Mul", y, per_channel(g, 4, "gamma"))))


@ZOO.case("Conv Relu", folded=None)
def preprocessing_goes_into_the_first_convolution(g: OnnxNet) -> None:
    x = g.op("Div", g.op("Sub", g.input("N", 3, 6, 5), g.value(g.normal(3, 1, 1))), g.value(0.3))
    g.output(g.op("Relu", g.conv(x, 3, 4)))
