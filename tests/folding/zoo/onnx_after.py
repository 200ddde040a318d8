"""ONNX: norms that go into the layer after them, since the one before cannot take them."""

from __future__ import annotations

from typing import Any

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()


def activated(g: OnnxNet, channels: int = 4, *size: int) -> str:
    return str(g.op("Relu", g.input("N", channels, *(size or (6, 5)))))


def finish(g: OnnxNet, *names: str) -> None:
    g.output(*[g.op("Relu", name) for name in names])


CONVS = {
    "plain": {},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4},
    "stride": {"strides": [2, 2]},
    "dilation": {"dilations": [2, 2]},
    "valid": {"auto_pad": "VALID"},
    "no_bias": {"bias": False},
}


@ZOO.each("conv", list(CONVS), "Relu Conv Relu")
def conv(g: OnnxNet, how: str) -> None:
    finish(g, g.conv(g.bn(activated(g), 4), 4, 8, **CONVS[how]))


@ZOO.each("conv_of_rank", [1, 3], "Relu Conv Relu")
def conv_of_rank(g: OnnxNet, rank: int) -> None:
    x = activated(g, 4, *(5, 4, 3)[:rank])
    finish(g, g.conv(g.bn(x, 4), 4, 6, 2, rank=rank, groups=2))


@ZOO.each("padded_without_shift", ["pads", "same"], "Relu Conv Relu")
def padded_without_shift(g: OnnxNet, how: str) -> None:
    padding = {"pads": [1, 1, 1, 1]} if how == "pads" else {"auto_pad": "SAME_UPPER"}
    finish(g, g.conv(g.bn(activated(g), 4, shift=False), 4, 6, **padding))


@ZOO.each(
    "padded_with_shift",
    ["pads", "same", "one_side", "groups"],
    "Relu Add Conv Relu|Relu BatchNormalization Conv Relu",
    folded=None,
)
def padded_with_shift(g: OnnxNet, how: str) -> None:
    """The shift must not reach the border: it stays before the layer, or the norm stays."""
    options: dict[str, Any] = {
        "pads": {"pads": [1, 1, 1, 1]},
        "same": {"auto_pad": "SAME_LOWER"},
        "one_side": {"pads": [0, 0, 0, 1]},
        "groups": {"pads": [1, 1, 1, 1], "groups": 2},
    }[how]
    finish(g, g.conv(g.bn(activated(g), 4, sign=1), 4, 6, **options))


@ZOO.case("Relu BatchNormalization Conv Relu", folded=0, refused=("(?i)pad",))
def padded_with_shift_where_the_scale_is_zero(g: OnnxNet) -> None:
    """gamma * x + beta with gamma 0: no Add before a scaled weight can say that."""
    finish(g, g.conv(g.bn(activated(g), 4), 4, 6, pads=[1, 1, 1, 1]))


@ZOO.case("Relu Add Conv Relu|Relu BatchNormalization Conv Relu", folded=None)
def padded_with_shift_where_a_scale_is_tiny(g: OnnxNet) -> None:
    """beta / gamma is 1e6 times the data: an Add would round the data away."""
    values = g.bn_values(4, sign=1)
    values["gamma"][1] = 1e-7
    names = [g.value(array) for array in values.values()]
    finish(g, g.conv(g.bn(activated(g), 4, names=names), 4, 6, pads=[1, 1, 1, 1]))


@ZOO.case("Relu ConvTranspose Relu")
def conv_transpose_without_shift(g: OnnxNet) -> None:
    finish(g, g.conv(g.bn(activated(g), 4, shift=False), 4, 6, 2, transposed=True, strides=[2, 2], groups=2))


@ZOO.case("Relu ConvTranspose Relu|Relu Add ConvTranspose Relu", folded=1)
def conv_transpose_of_one_pixel(g: OnnxNet) -> None:
    """A kernel of one pixel: the shift is the same everywhere."""
    finish(g, g.conv(g.bn(activated(g), 4, sign=1), 4, 6, 1, transposed=True))


@ZOO.each(
    "conv_transpose_with_shift",
    [(3, 1), (2, 2), (1, 2), (3, 2)],
    "Relu Add ConvTranspose Relu|Relu BatchNormalization ConvTranspose Relu",
    folded=None,
)
def conv_transpose_with_shift(g: OnnxNet, value: tuple[int, int]) -> None:
    """A constant input does not give a constant output: the border, or the place in the kernel, shows."""
    kernel, stride = value
    y = g.conv(g.bn(activated(g), 4, sign=1), 4, 6, kernel, transposed=True, strides=[stride, stride])
    finish(g, y)


@ZOO.each("gemm", [(0, 0, 1.0), (0, 1, 0.5), (1, 1, -1.0), (0, 1, 0.0)], "Relu Gemm Relu")
def gemm(g: OnnxNet, value: tuple[int, int, float]) -> None:
    has_bias, trans_b, alpha = value
    x = g.bn(str(g.op("Relu", g.input("N", 4))), 4)
    weight = g.value(g.normal(6, 4) if trans_b else g.normal(4, 6))
    extra = [g.value(g.normal(6))] if has_bias or g.opset < 11 else []
    finish(g, g.op("Gemm", x, weight, *extra, transB=trans_b, alpha=alpha, beta=0.5))


@ZOO.case("Relu MatMul Add Relu|Relu Gemm Relu")
def matmul(g: OnnxNet) -> None:
    x = g.bn(str(g.op("Relu", g.input("N", 4))), 4)
    finish(g, g.op("MatMul", x, g.value(g.normal(4, 6))))


@ZOO.case("Relu MatMul Add Relu|Relu Gemm Relu")
def matmul_add(g: OnnxNet) -> None:
    x = g.bn(str(g.op("Relu", g.input("N", 4))), 4)
    finish(g, g.op("Add", g.op("MatMul", x, g.value(g.normal(4, 6))), g.value(g.normal(6))))


@ZOO.case("Relu MatMul Add Relu")
def matmul_left(g: OnnxNet) -> None:
    """W @ x contracts the channels of the norm."""
    x = g.bn(activated(g, 4, 5), 4)
    finish(g, g.op("MatMul", g.value(g.normal(6, 4)), x))


@ZOO.case("Relu Transpose MatMul Add Relu")
def matmul_of_transposed(g: OnnxNet) -> None:
    x = g.op("Transpose", g.bn(activated(g, 4, 5), 4), perm=[0, 2, 1])
    finish(g, g.op("Add", g.op("MatMul", x, g.value(g.normal(4, 6))), g.value(g.normal(6))))


@ZOO.case("Relu BatchNormalization MatMul Relu", folded=0, refused=("",))
def matmul_that_contracts_the_positions(g: OnnxNet) -> None:
    finish(g, g.op("MatMul", g.bn(activated(g, 4, 5), 4), g.value(g.normal(5, 6))))


@ZOO.each("through", ["Flatten", "Reshape"], "Relu Flatten Gemm Relu|Relu Reshape Gemm Relu")
def flatten_gemm(g: OnnxNet, how: str) -> None:
    y = g.bn(activated(g, 4, 3, 2), 4)
    y = str(g.op("Flatten", y)) if how == "Flatten" else g.reshape(y, -1, 24)
    finish(g, g.op("Gemm", y, g.value(g.normal(24, 6)), g.value(g.normal(6))))


@ZOO.case("Relu Flatten MatMul Add Relu")
def flatten_matmul_add(g: OnnxNet) -> None:
    y = g.op("Flatten", g.bn(activated(g, 4, 3, 2), 4))
    finish(g, g.op("Add", g.op("MatMul", y, g.value(g.normal(24, 6))), g.value(g.normal(6))))


@ZOO.case("Relu GlobalAveragePool Flatten Dropout Gemm Relu")
def the_usual_head(g: OnnxNet) -> None:
    y = g.op("Flatten", g.op("GlobalAveragePool", g.bn(activated(g), 4)))
    finish(g, g.op("Gemm", g.dropout(y), g.value(g.normal(6, 4)), g.value(g.normal(6)), transB=1))


@ZOO.case("Relu AveragePool Conv Relu")
def average_pool_between(g: OnnxNet) -> None:
    y = g.op("AveragePool", g.bn(activated(g), 4), kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    finish(g, g.conv(y, 4, 6))


@ZOO.case("Relu BatchNormalization AveragePool Conv Relu", folded=0, refused=("(?i)pad|pool|relu",))
def average_pool_that_counts_its_padding_between(g: OnnxNet) -> None:
    y = g.op("AveragePool", g.bn(activated(g), 4), kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)
    finish(g, g.conv(y, 4, 6))


@ZOO.case("Relu MaxPool Conv Relu")
def max_pool_between(g: OnnxNet) -> None:
    y = g.op("MaxPool", g.bn(activated(g), 4, sign=1), kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    finish(g, g.conv(y, 4, 6))


@ZOO.case("Relu BatchNormalization MaxPool Conv Relu", folded=0, refused=("(?i)negative|pool",))
def max_pool_between_and_a_negative_scale(g: OnnxNet) -> None:
    finish(g, g.conv(str(g.op("MaxPool", g.bn(activated(g), 4), kernel_shape=[2, 2])), 4, 6))


@ZOO.case("Relu Reshape Transpose Reshape Conv Relu")
def shuffle_between(g: OnnxNet) -> None:
    y = g.reshape(g.bn(activated(g, 6, 5, 4), 6), -1, 2, 3, 5, 4)
    y = g.reshape(str(g.op("Transpose", y, perm=[0, 2, 1, 3, 4])), -1, 6, 5, 4)
    finish(g, g.conv(y, 6, 4, groups=2))


@ZOO.case("Relu Resize Conv Relu", opset=13)
def resize_between(g: OnnxNet) -> None:
    finish(g, g.conv(g.resize(g.bn(activated(g), 4), 1, 1, 2, 2), 4, 6))


@ZOO.case("Relu Conv Conv Relu Relu")
def several_consumers_all_linear(g: OnnxNet) -> None:
    y = g.bn(activated(g), 4)
    finish(g, g.conv(y, 4, 6), g.conv(y, 4, 5, 1, bias=False))


@ZOO.case("Relu BatchNormalization Conv Relu Relu", folded=0, refused=("",))
def several_consumers_one_nonlinear(g: OnnxNet) -> None:
    y = g.bn(activated(g), 4)
    finish(g, g.conv(y, 4, 6), y)


@ZOO.case("Relu BatchNormalization Conv Relu", folded=0, refused=("(?i)output|nonlinear|relu",))
def its_output_is_an_output_of_the_graph(g: OnnxNet) -> None:
    y = g.bn(activated(g), 4)
    finish(g, g.conv(y, 4, 6))
    g.output(y)


@ZOO.case("Relu Split Conv Conv Relu Relu")
def split_between(g: OnnxNet) -> None:
    first, second = g.split(g.bn(activated(g, 6, 5, 4), 6), 4, 2)
    finish(g, g.conv(first, 4, 3), g.conv(second, 2, 3))


@ZOO.case("Relu BatchNormalization Split Conv Sigmoid", folded=0, refused=("(?i)sigmoid|nonlinear",))
def split_one_part_nonlinear(g: OnnxNet) -> None:
    first, second = g.split(g.bn(activated(g, 6, 5, 4), 6), 4, 2)
    y = g.conv(first, 4, 3)
    g.output(y, g.op("Sigmoid", second))


@ZOO.case("Relu Relu Concat Conv Relu")
def concat_between(g: OnnxNet) -> None:
    """The other part passes as it is."""
    other = g.op("Relu", g.input("N", 3, 6, 5, name="z"))
    y = g.op("Concat", g.bn(activated(g), 4), other, axis=1)
    finish(g, g.conv(y, 7, 6))


@ZOO.case("Relu Relu Concat Conv Relu", folded=2)
def concat_between_with_two_norms(g: OnnxNet) -> None:
    other = g.bn(str(g.op("Relu", g.input("N", 3, 6, 5, name="z"))), 3)
    y = g.op("Concat", g.bn(activated(g), 4), other, axis=1)
    finish(g, g.conv(y, 7, 6))


@ZOO.case("Relu BatchNormalization Conv Add Relu", folded=0, refused=("(?i)add|used|consumer",))
def a_residual_around_the_convolution(g: OnnxNet) -> None:
    y = g.bn(activated(g), 4)
    finish(g, g.op("Add", g.conv(y, 4, 4, 1), y))


@ZOO.case("Conv Relu")
def norm_of_the_input(g: OnnxNet) -> None:
    finish(g, g.conv(g.bn(g.input("N", 3, 6, 5), 3), 3, 4))


@ZOO.case("Conv Conv Relu", folded=1)
def the_one_before_has_another_reader(g: OnnxNet) -> None:
    """The convolution before is an output too, so that the norm goes into the one behind."""
    y = g.conv(g.input("N", 3, 6, 5), 3, 4)
    finish(g, g.conv(g.bn(y, 4), 4, 6))
    g.output(y)


@ZOO.case("Relu Mul Conv Relu|Relu Conv Relu", folded=None)
def plain_scale(g: OnnxNet) -> None:
    y = g.op("Mul", activated(g), g.value(g.normal(4, 1, 1)))
    finish(g, g.conv(str(y), 4, 6, pads=[1, 1, 1, 1]))


@ZOO.case("Relu Conv Relu", folded=1)
def decomposed(g: OnnxNet) -> None:
    y = g.op("Sub", activated(g), g.value(g.normal(4, 1, 1)))
    y = g.op("Div", y, g.value(g.random.uniform(0.5, 2, (4, 1, 1))))
    y = g.op("Mul", y, g.value(g.normal(1, 4, 1, 1)))
    finish(g, g.conv(str(g.op("Add", y, g.value(g.normal(4, 1, 1)))), 4, 6))


@ZOO.case("Relu Conv Conv Relu Relu")
def the_weight_has_another_user(g: OnnxNet) -> None:
    """Two convolutions with one weight: the other must not be scaled."""
    weight = g.value(g.normal(4, 4, 3, 3, scale=0.2), "shared")
    finish(
        g,
        g.conv(g.bn(activated(g), 4), 4, 4, weight=weight),
        g.conv(g.input("N", 4, 6, 5, name="z"), 4, 4, weight=weight),
    )
