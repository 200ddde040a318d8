"""ONNX: through repetitions and choices, sums of one tensor, clips without bounds; pools that count their padding."""

from __future__ import annotations

import numpy as np

from tests.folding.zoo.case import Zoo
from tests.folding.zoo.onnx_through import STAYS, convolved, finish
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()


def wide(g: OnnxNet, x: str, *sizes: int) -> str:
    return str(g.op("Expand", x, g.value(np.array(sizes, np.int64))))


def tiled(g: OnnxNet, x: str, *times: int) -> str:
    return str(g.op("Tile", x, g.value(np.array(times, np.int64))))


def mask(g: OnnxNet, *shape: int) -> str:
    return g.value(g.normal(*shape) > 0)


# Repetitions.


@ZOO.case("Conv GlobalAveragePool Expand Relu")
def expand_over_positions(g: OnnxNet) -> None:
    finish(g, wide(g, g.op("GlobalAveragePool", convolved(g)), 1, 1, 5, 4))


@ZOO.case("Conv GlobalAveragePool Shape Expand Relu|Shape Conv GlobalAveragePool Expand Relu", opset=13)
def expand_to_the_sizes_of_another(g: OnnxNet) -> None:
    """With four channels, as the norm has."""
    x = g.input("N", 4, 6, 5)
    finish(g, g.op("Expand", g.op("GlobalAveragePool", g.conv(x, 4, 4)), g.op("Shape", x)))


@ZOO.case("Relu Expand Conv", folded=1)
def expand_after_the_norm(g: OnnxNet) -> None:
    x = g.bn(g.op("Relu", g.input("N", 3, 1, 1)), 3)
    g.output(g.conv(wide(g, x, 1, 1, 5, 4), 3, 4))


@ZOO.case("Conv Expand BatchNormalization Relu", **STAYS)
def expand_of_the_channels(g: OnnxNet) -> None:
    finish(g, wide(g, g.conv(g.input("N", 3, 6, 5), 3, 1), 1, 4, 1, 1))


@ZOO.case("Conv Tile Relu")
def tile_over_positions(g: OnnxNet) -> None:
    finish(g, tiled(g, convolved(g), 1, 1, 2, 3))


@ZOO.case("Conv Tile BatchNormalization Relu", **STAYS)
def tile_of_the_channels(g: OnnxNet) -> None:
    finish(g, tiled(g, convolved(g), 1, 2, 1, 1), 8)


@ZOO.case("Conv GlobalAveragePool Squeeze Expand Relu", opset=11)
def expand_to_more_axes(g: OnnxNet) -> None:
    y = g.op("Squeeze", g.op("GlobalAveragePool", g.conv(g.input(1, 3, 6, 5), 3, 4)), axes=[0])
    finish(g, wide(g, y, 1, 4, 5, 6))


@ZOO.case("Conv Squeeze Expand BatchNormalization Relu", opset=11, **STAYS)
def expand_along_the_channels(g: OnnxNet) -> None:
    y = g.op("Squeeze", g.conv(g.input(1, 3, 6, 5), 3, 1), axes=[0])
    finish(g, wide(g, y, 2, 4, 4, 3))


# Choices.


@ZOO.case("Conv Conv Where Relu")
def where_of_two_convolutions(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Where", mask(g, 1, 1, 4, 3), g.conv(x, 3, 4), g.conv(x, 3, 4)))


@ZOO.case("ReduceMean Greater Conv Conv Where Relu", opset=13)
def where_the_input_says(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    condition = g.op("Greater", g.mean(x, 1, 2, 3), g.value(np.float32(0)))
    finish(g, g.op("Where", condition, g.conv(x, 3, 4), g.conv(x, 3, 4)))


@ZOO.case("Conv Conv Relu Where BatchNormalization Relu", **STAYS)
def where_one_is_nonlinear(g: OnnxNet) -> None:
    y = convolved(g)
    finish(g, g.op("Where", mask(g, 1, 1, 6, 5), g.conv("x", 3, 4), g.op("Relu", y)))


@ZOO.case("Conv Conv Where BatchNormalization Relu", **STAYS)
def where_one_has_a_single_channel(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Where", mask(g, 1, 1, 4, 3), g.conv(x, 3, 4), g.conv(x, 3, 1)))


@ZOO.each("constant", [(), (1,), (1, 1, 1, 3), (1, 4, 1, 1), (1, 4, 4, 3)], "Conv Where Relu")
def where_or_a_constant(g: OnnxNet, shape: tuple[int, ...]) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Where", mask(g, 1, 1, 4, 3), g.value(g.normal(*shape)), g.conv(x, 3, 4)))


@ZOO.case("Conv Where Add Relu")
def where_or_a_constant_that_others_read(g: OnnxNet) -> None:
    """Which keep theirs."""
    x, half = g.input("N", 3, 6, 5), g.value(g.normal(1, 1, 1, 3))
    y = g.op("Where", mask(g, 1, 1, 4, 3), half, g.conv(x, 3, 4))
    g.output(g.op("Relu", g.op("Add", g.bn(y, 4), half)))


@ZOO.case("Relu Transpose Transpose Where Conv")
def where_after_the_norm(g: OnnxNet) -> None:
    x = g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3)
    turned = g.op("Transpose", g.op("Transpose", x, perm=[0, 1, 3, 2]), perm=[0, 1, 3, 2])
    g.output(g.conv(g.op("Where", mask(g, 1, 1, 6, 5), x, turned), 3, 4))


# Sums of one tensor.


@ZOO.case("Conv Relu")
def three_times_itself(g: OnnxNet) -> None:
    y = convolved(g)
    finish(g, g.op("Sum", y, y, y))


@ZOO.case("Relu Conv")
def twice_after_the_norm(g: OnnxNet) -> None:
    x = g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3)
    g.output(g.conv(g.op("Add", x, x), 3, 4))


@ZOO.case("Conv Sub BatchNormalization Relu", **STAYS)
def minus_itself(g: OnnxNet) -> None:
    y = convolved(g)
    finish(g, g.op("Sub", y, y))


# Clips.


@ZOO.each("clip_without_bounds", [9, 11, 13, 21], "Conv Clip Relu")
def clip_without_bounds(g: OnnxNet, opset: int) -> None:
    g.opset, g.domains = opset, {"": opset}
    finish(g, g.op("Clip", convolved(g)))


@ZOO.case("Conv Clip Relu", opset=13, dtypes=("float32",))
def clip_to_the_range_of_its_type(g: OnnxNet) -> None:
    limits = [g.value(np.float32(each)) for each in (np.finfo(np.float32).min, np.finfo(np.float32).max)]
    finish(g, g.op("Clip", convolved(g), *limits))


@ZOO.case("Conv Clip BatchNormalization Relu", opset=13, folded=0, refused=("nonlinearity",))
def clip_below(g: OnnxNet) -> None:
    finish(g, g.op("Clip", convolved(g), "", g.value(np.float32(1e30))))


# What counts its padding takes the scale.


@ZOO.case("Conv AveragePool Add Relu")
def counted_padding(g: OnnxNet) -> None:
    finish(g, g.op("AveragePool", convolved(g), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))


@ZOO.case("Conv AveragePool BatchNormalization Relu Relu", **STAYS)
def counted_padding_with_another_reader(g: OnnxNet) -> None:
    y = g.op("AveragePool", convolved(g), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    finish(g, y)
    g.output(g.op("Relu", y))


# Einsum.


@ZOO.each(
    "equation",
    ["bchw,dc->bdhw", "cd,bchw->bdhw", "bchw,cd -> bdhw", "bc...,dc->bd...", "...chw,dc->...dhw", "bchw,dc->bdwh"],
    "Einsum Add Relu",
    opset=13,
)
def einsum(g: OnnxNet, equation: str) -> None:
    x, weight = g.input("N", 3, 6, 5), g.value(g.normal(*((3, 4) if "cd" in equation else (4, 3))))
    operands = (weight, x) if equation.startswith("cd") else (x, weight)
    finish(g, g.op("Einsum", *operands, equation=equation))


@ZOO.case("Relu Einsum Add", opset=13)
def einsum_after_the_norm(g: OnnxNet) -> None:
    x = g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3)
    g.output(g.op("Einsum", g.value(g.normal(3, 4)), x, equation="cd,bchw->bhwd"))


@ZOO.each(
    "not_one_matrix",
    ["bchw,dch->bdhw", "bchw,dc->bd", "bchw,bdhw->bchw"],
    "Einsum BatchNormalization Relu",
    opset=13,
    folded=0,
    refused=("einsum",),
)
def not_a_matrix(g: OnnxNet, equation: str) -> None:
    x = g.input("N", 4, 6, 5)
    other = x if "," + "bdhw" in equation else g.value(g.normal(4, 4, 6) if "dch" in equation else g.normal(4, 4))
    finish(g, g.op("Einsum", x, other, equation=equation))


# Products with a batch of matrices, each of which has channels of its own.


def matrices(g: OnnxNet, *shape: int) -> str:
    return g.value(g.normal(*shape))


@ZOO.each("grouped", [False, True], "MatMul Add Reshape Transpose Relu", opset=17)
def grouped(g: OnnxNet, bias: bool) -> None:
    """Three groups of six channels to four each, and a norm of all twelve."""
    y = g.op("MatMul", g.input("N", 5, 3, 1, 6), matrices(g, 3, 6, 4))
    y = g.op("Add", y, matrices(g, 4)) if bias else y
    y = g.op("Transpose", g.reshape(y, 0, 5, 12), perm=[0, 2, 1])
    finish(g, y, 12)


@ZOO.case("MatMul Add Relu", opset=17)
def one_channel_a_matrix(g: OnnxNet) -> None:
    finish(g, g.op("MatMul", matrices(g, 3, 4, 6), g.input("N", 3, 6, 5)), 3)


@ZOO.case("MatMul Reshape Relu", opset=17)
def on_the_left_without_a_shift(g: OnnxNet) -> None:
    y = g.op("MatMul", matrices(g, 3, 4, 6), g.input("N", 3, 6, 5))
    finish(g, g.reshape(y, 0, 12, 5), 12, shift=False)


@ZOO.case("Relu Reshape MatMul Add", opset=17)
def matrices_on_the_left_after_the_norm(g: OnnxNet) -> None:
    x = g.reshape(g.bn(g.op("Relu", g.input("N", 12, 5)), 12), 0, 3, 4, 5)
    g.output(g.op("MatMul", matrices(g, 3, 6, 4), x))


@ZOO.case("Relu MatMul Add", opset=17)
def matrices_on_the_right_after_the_norm(g: OnnxNet) -> None:
    x = g.bn(g.op("Relu", g.input("N", 3, 4, 5)), 3)
    g.output(g.op("MatMul", x, matrices(g, 3, 5, 4)))


@ZOO.case("MatMul BatchNormalization Relu", opset=17, **STAYS)
def one_matrix_for_all_channels(g: OnnxNet) -> None:
    finish(g, g.op("MatMul", matrices(g, 1, 4, 6), g.input("N", 3, 6, 5)), 3)
