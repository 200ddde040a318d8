"""ONNX: scalar constants, as of x * 0.5, which go along with a norm and never by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import TYPES, OnnxNet

ZOO = Zoo()
KINDS = ("Mul", "Add", "Sub", "Div")


def convolved(g: OnnxNet, x: str = "") -> str:
    return g.conv(x or g.input("N", 3, 6, 5), 3, 4)


def number(g: OnnxNet, x: str, kind: str = "Mul", value: Any = -0.7) -> str:
    return str(g.op(kind, x) if kind == "Neg" else g.op(kind, x, g.value(np.asarray(value, float))))


for _kind in (*KINDS, "Neg"):
    ZOO.add(
        f"between_layer_and_norm_{_kind}",
        lambda g, kind=_kind: g.output(g.op("Relu", g.bn(number(g, convolved(g), kind), 4))),
        "Conv Relu",
    )
    ZOO.add(
        f"behind_a_norm_that_goes_{_kind}",
        lambda g, kind=_kind: g.output(g.op("Relu", number(g, g.bn(convolved(g), 4), kind))),
        f"Conv {_kind} Relu",
    )
    ZOO.add(
        f"between_norm_and_layer_{_kind}",
        lambda g, kind=_kind: g.output(convolved(g, number(g, g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3), kind))),
        "Relu Conv",
    )
    ZOO.add(
        f"without_a_norm_{_kind}",
        lambda g, kind=_kind: g.output(g.op("Relu", number(g, convolved(g), kind))),
        f"Conv {_kind} Relu",
        folded=0,
    )


@ZOO.each("shape", [(), (1,), (1, 1, 1, 1)], "Conv Relu")
def shape(g: OnnxNet, dims: tuple[int, ...]) -> None:
    g.output(g.op("Relu", g.bn(number(g, convolved(g), value=np.full(dims, 0.4)), 4)))


@ZOO.case("Conv Relu")
def first_operand(g: OnnxNet) -> None:
    """1 - x."""
    y = g.op("Sub", g.value(np.asarray(1.0)), convolved(g))
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("Conv Relu")
def zero(g: OnnxNet) -> None:
    """Nothing is left of the data; the shifts stay."""
    g.output(g.op("Relu", g.bn(number(g, convolved(g), value=0.0), 4)))


@ZOO.case("Conv Relu", folded=2)
def between_two_norms(g: OnnxNet) -> None:
    g.output(g.op("Relu", g.bn(number(g, g.bn(convolved(g), 4), "Add"), 4)))


@ZOO.case("Relu BatchNormalization Relu", folded=1, refused=("Relu",))
def between_two_norms_that_no_layer_takes(g: OnnxNet) -> None:
    y = number(g, g.bn(g.op("Relu", g.input("N", 4, 6, 5)), 4))
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.case("Relu Mul BatchNormalization Relu", folded=0, refused=("Relu",))
def taken_up_by_nobody(g: OnnxNet) -> None:
    """A number is no layer that could take a norm up."""
    g.output(g.op("Relu", g.bn(number(g, g.op("Relu", g.input("N", 4, 6, 5))), 4)))


@ZOO.case("InstanceNormalization Relu")
def behind_an_instance_norm(g: OnnxNet) -> None:
    y = g.op("InstanceNormalization", g.input("N", 4, 6, 5), g.value(g.normal(4)), g.value(g.normal(4)))
    g.output(g.op("Relu", g.bn(number(g, number(g, str(y)), "Add"), 4)))


@ZOO.case("Conv Identity AveragePool Relu")
def with_others_on_the_way(g: OnnxNet) -> None:
    y = g.op("Identity", number(g, convolved(g)))
    y = number(g, str(g.op("AveragePool", y, kernel_shape=[2, 2])), "Add")
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.case("Conv Conv Add Relu")
def on_one_branch_of_a_sum(g: OnnxNet) -> None:
    x = g.input("N", 3, 6, 5)
    g.output(g.op("Relu", g.bn(str(g.op("Add", number(g, convolved(g, x)), convolved(g, x))), 4)))


@ZOO.case("Relu Conv Conv")
def on_one_way_to_the_layers(g: OnnxNet) -> None:
    y = g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3)
    g.output(convolved(g, y), convolved(g, number(g, y, "Add")))


@ZOO.case("Relu Add Conv")
def the_shift_stays(g: OnnxNet) -> None:
    """Before a padded convolution the scale goes, and the number with it."""
    y = number(g, g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3, sign=1))
    g.output(g.conv(y, 3, 4, 3, pads=[1] * 4))


@ZOO.case("Relu BatchNormalization Add Conv", folded=0, refused=("Relu",))
def a_number_that_padding_does_not_see(g: OnnxNet) -> None:
    y = number(g, g.bn(g.op("Relu", g.input("N", 3, 6, 5)), 3, sign=1), "Add")
    g.output(g.conv(y, 3, 4, 3, pads=[1] * 4))


@ZOO.case("Conv Mul Sigmoid BatchNormalization Relu", folded=0, refused=("Sigmoid",))
def with_another_reader(g: OnnxNet) -> None:
    y = number(g, convolved(g))
    other = g.op("Sigmoid", y)
    g.output(g.op("Relu", g.bn(y, 4)), other)


@ZOO.case("Conv Mul BatchNormalization Relu", folded=0, refused=("output",))
def an_output_itself(g: OnnxNet) -> None:
    y = number(g, convolved(g))
    g.output(g.op("Relu", g.bn(y, 4)), y)


@ZOO.case("Conv Mul BatchNormalization Relu", folded=0, refused=("(?i)input",))
def with_a_default_that_a_caller_may_override(g: OnnxNet) -> None:
    factor = g.value(np.asarray(0.5), "factor")
    g.inputs.append(helper.make_tensor_value_info(factor, TYPES[g.dtype], ()))
    g.output(g.op("Relu", g.bn(str(g.op("Mul", convolved(g), factor)), 4)))


@ZOO.case("Conv MaxPool Mul BatchNormalization Relu", folded=0, refused=("maximum",))
def negative_behind_a_maximum(g: OnnxNet) -> None:
    y = g.op("MaxPool", convolved(g), kernel_shape=[2, 2])
    g.output(g.op("Relu", g.bn(number(g, str(y)), 4, sign=1)))


@ZOO.case("Conv MaxPool Relu")
def negative_in_front_of_a_maximum(g: OnnxNet) -> None:
    y = g.op("MaxPool", number(g, convolved(g)), kernel_shape=[2, 2])
    g.output(g.op("Relu", g.bn(str(y), 4, sign=1)))


@ZOO.case("LayerNormalization MatMul Add", opset=17, norms=frozenset({"batch", "layer"}))
def behind_a_layer_norm(g: OnnxNet) -> None:
    y = g.op("LayerNormalization", g.input("N", 5, 4), g.value(g.normal(4)), g.value(g.normal(4)), axis=-1)
    y = g.op("MatMul", number(g, str(y)), g.value(g.normal(4, 3)))
    g.output(g.op("Add", y, g.value(g.normal(3))))


@ZOO.case("Relu AveragePool Sub Relu Conv", opset=18, folded=0)
def a_shift_that_cancels_in_the_type_of_its_data(g: OnnxNet) -> None:
    """PoolFormer, as torch.onnx writes it: pool(x + b) - (x + b), where b is cast to the type of x."""
    x = g.op("Relu", g.input("N", 4, 6, 5))
    y = g.op("Add", x, g.op("CastLike", g.value(g.normal(1, 4, 1, 1)), x))
    pooled = g.op("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    g.output(g.op("Relu", g.op("Sub", pooled, y)), g.conv(y, 4, 4))


@ZOO.case("Conv Relu", opset=18, folded=0)
def scale_and_shift_in_the_type_of_their_data(g: OnnxNet) -> None:
    x = convolved(g)
    y = g.op("Mul", x, g.op("CastLike", g.value(g.normal(1, 4, 1, 1)), x))
    g.output(g.op("Relu", g.op("Add", y, g.op("CastLike", g.value(g.normal(1, 4, 1, 1)), y))))
