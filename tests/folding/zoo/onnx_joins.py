"""ONNX: norms after Concat, Split and Add, which each layer before takes its share of."""

from __future__ import annotations

from tests.folding.zoo.case import Zoo
from tests.folding.zoo.onnx_through import STAYS, convolved, finish
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()

# Parts of the channels.


@ZOO.case("Conv Conv Concat Relu")
def concat(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Concat", g.conv(x, 3, 4), g.conv(x, 3, 2), axis=1), 6)


@ZOO.case("Conv Conv Conv Concat Relu")
def concat_of_three(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    parts = [g.conv(x, 3, 4), g.conv(x, 3, 2, bias=False), g.conv(x, 3, 3)]
    finish(g, g.op("Concat", *parts, axis=-3 if g.opset >= 11 else 1), 9)


@ZOO.case("Conv Conv Concat Relu")
def concat_of_positions(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Concat", g.conv(x, 3, 4), g.conv(x, 3, 4), axis=3))


@ZOO.case("Conv Conv Relu Concat BatchNormalization Relu", folded=0, refused=("(?i)relu|nonlinear",))
def concat_with_a_nonlinear_part(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Concat", g.conv(x, 3, 4), g.op("Relu", g.conv(x, 3, 2)), axis=1), 6)


@ZOO.case("Conv Split Relu Relu", folded=2)
def split_each_part_with_its_norm(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    g.output(g.op("Relu", g.bn(first, 4)), g.op("Relu", g.bn(second, 2)))
    g.nodes[-4:] = [g.nodes[-4], g.nodes[-2], g.nodes[-3], g.nodes[-1]]


@ZOO.case("Conv Split Relu Relu")
def split_one_part_has_a_norm(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    g.output(g.op("Relu", g.bn(first, 4)), g.op("Relu", second))


@ZOO.case("Conv Split Concat Relu")
def diamond(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    finish(g, g.op("Concat", second, first, axis=1), 6)


@ZOO.case("Conv Split MaxPool Identity Concat Relu")
def diamond_with_something_in_it(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    second = g.op("MaxPool", second, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    finish(g, g.op("Concat", g.op("Identity", first), second, axis=1), 6, sign=1)


@ZOO.case("Conv Split Relu Concat BatchNormalization Relu", folded=0, refused=("(?i)relu|nonlinear",))
def diamond_with_a_nonlinearity_in_it(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    finish(g, g.op("Concat", g.op("Relu", first), second, axis=1), 6)


@ZOO.case("Conv Split Concat Relu BatchNormalization Relu|Conv Split Relu Concat BatchNormalization Relu", **STAYS)
def part_with_another_reader(g: OnnxNet) -> None:
    first, second = g.split(convolved(g, channels=6), 4, 2)
    other = g.op("Relu", first)
    g.output(g.op("Relu", g.bn(g.op("Concat", first, second, axis=1), 6)), other)


@ZOO.case("Conv Split Concat BatchNormalization Relu|Conv Split Concat Relu", folded=None)
def a_part_twice(g: OnnxNet) -> None:
    """Both copies come from the same channels and ask for different scales."""
    first, second = g.split(convolved(g, channels=6), 4, 2)
    finish(g, g.op("Concat", second, first, second, axis=1), 8)


# Sums.


@ZOO.case("Conv Conv Add Relu")
def add(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Add", g.conv(x, 3, 4), g.conv(x, 3, 4)))


@ZOO.case("Conv Conv Add Relu", folded=3)
def add_of_norms_and_a_norm_behind(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Add", g.bn(g.conv(x, 3, 4), 4), g.bn(g.conv(x, 3, 4, bias=False), 4)))


@ZOO.case("Conv Conv Conv Add Add Relu")
def add_of_three(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    y = g.op("Add", g.conv(x, 3, 4), g.conv(x, 3, 4))
    finish(g, g.op("Add", g.conv(x, 3, 4), y))
    adds = [n for n in g.nodes if n.op_type == "Add"]
    convs = [n for n in g.nodes if n.op_type == "Conv"]
    g.nodes[:5] = [*convs, *adds]


@ZOO.case("Conv Conv Conv Sum Relu")
def sum_of_three(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Sum", g.conv(x, 3, 4), g.conv(x, 3, 4), g.conv(x, 3, 4)))


@ZOO.case("Conv Conv Sub Relu")
def difference(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    finish(g, g.op("Sub", g.conv(x, 3, 4), g.conv(x, 3, 4)))


@ZOO.case("Conv MaxPool Conv Add Relu")
def add_behind_a_pool(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    y = g.op("MaxPool", g.conv(x, 3, 4, 1), kernel_shape=[3, 3])
    finish(g, g.op("Add", y, g.conv(x, 3, 4)), sign=1)


@ZOO.case("Conv Gemm Unsqueeze Add Relu")
def add_that_is_broadcast(g: OnnxNet) -> None:
    y = g.conv(g.input("N", 3, 6, 5), 3, 4)
    z = g.op("Gemm", g.input("N", 5, name="z"), g.value(g.normal(5, 4)), g.value(g.normal(4)))
    finish(g, g.op("Add", y, g.unsqueeze(z, 2, 3)))


@ZOO.case("Conv Add Relu")
def add_of_positional_constants(g: OnnxNet) -> None:
    finish(g, g.op("Add", convolved(g), g.value(g.normal(4, 6, 5))))


@ZOO.case("Conv Add BatchNormalization Relu", **STAYS)
def add_of_an_input(g: OnnxNet) -> None:
    finish(g, g.op("Add", convolved(g), g.input("N", 4, 6, 5, name="z")))


@ZOO.case("Conv Conv Add Relu BatchNormalization Relu|Conv Conv Relu Add BatchNormalization Relu", **STAYS)
def add_of_a_branch_with_another_reader(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    first, second = g.conv(x, 3, 4), g.conv(x, 3, 4)
    other = g.op("Relu", first)
    g.output(g.op("Relu", g.bn(g.op("Add", first, second), 4)), other)


@ZOO.case("Conv Relu Conv Add BatchNormalization Relu", folded=0, refused=("(?i)used|consumer|relu|nonlinear",))
def add_of_a_residual(g: OnnxNet) -> None:
    x = g.op("Relu", convolved(g))
    finish(g, g.op("Add", x, g.conv(x, 4, 4, pads=[1, 1, 1, 1])))


@ZOO.case("Conv Relu")
def add_of_itself(g: OnnxNet) -> None:
    y = convolved(g)
    finish(g, g.op("Add", y, y))
