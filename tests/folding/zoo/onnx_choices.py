"""ONNX: norms after or before slices and gathers, each of which gets its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()


def convolved(g: OnnxNet, channels: int = 6) -> str:
    return g.conv(g.input("N", 3, 6, 5), 3, channels)


def cut(g: OnnxNet, x: str, start: int, end: int, axis: int = 1, step: int = 1) -> str:
    if g.opset < 10:
        return str(g.op("Slice", x, starts=[start], ends=[end], axes=[axis]))
    values = [g.value(np.array([each], np.int64)) for each in (start, end, axis, step)]
    return str(g.op("Slice", x, *values))


def gather(g: OnnxNet, x: str, *index: int, axis: int = 1) -> str:
    return str(g.op("Gather", x, g.value(np.array(index, np.int64)), axis=axis))


def normed(g: OnnxNet, x: str, channels: int, kind: str = "Relu") -> str:
    return str(g.op(kind, g.bn(x, channels)))


@ZOO.case("Conv Slice Relu Slice Sigmoid", folded=2)
def two_slices(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 0, 2), 2), normed(g, cut(g, y, 2, 6), 4, "Sigmoid"))


@ZOO.case("Conv Slice Relu Slice Sigmoid")
def two_slices_and_one_norm(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 2, 6), 4), g.op("Sigmoid", cut(g, y, 0, 2)))


@ZOO.case("Conv Slice Relu Slice Sigmoid", folded=2)
def two_slices_with_a_gap(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 0, 2), 2), normed(g, cut(g, y, -3, 1000), 3, "Sigmoid"))


@ZOO.case("Conv Slice Slice Relu Identity Slice Sigmoid", folded=2)
def slices_behind_what_changes_nothing(g: OnnxNet) -> None:
    """As x[:, :2] is exported: all samples first."""
    y = convolved(g)
    first = normed(g, cut(g, cut(g, y, 0, 2**31 - 1, axis=0), 0, 2), 2)
    g.output(first, normed(g, cut(g, str(g.op("Identity", y)), 2, 6), 4, "Sigmoid"))


@ZOO.case("Conv Slice Relu")
def some_of_the_channels(g: OnnxNet) -> None:
    g.output(normed(g, cut(g, convolved(g), 1, 5), 4))


@ZOO.case("Conv Slice BatchNormalization Relu Slice Sigmoid", folded=0, refused=("more than once",))
def slices_that_overlap(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 0, 4), 4), g.op("Sigmoid", cut(g, y, 2, 6)))


@ZOO.each("steps", [2, -1], "Conv Slice Relu", opset=13)
def steps(g: OnnxNet, step: int) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 0, 6, step=2) if step > 0 else cut(g, y, 5, -100, step=-1), 3 if step > 0 else 6))


@ZOO.case("Conv Slice Slice Concat Relu")
def halves_exchanged(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, str(g.op("Concat", cut(g, y, 3, 6), cut(g, y, 0, 3), axis=1)), 6))


@ZOO.case("Conv Gather Relu")
def channel_shuffle(g: OnnxNet) -> None:
    g.output(normed(g, gather(g, convolved(g), 0, 3, 1, 4, -4, -1), 6))


@ZOO.case("Relu Gather Conv")
def channel_shuffle_in_front_of_the_layer(g: OnnxNet) -> None:
    y = g.bn(g.op("Relu", g.input("N", 4, 6, 5)), 4)
    g.output(g.conv(gather(g, y, 2, 0, 3, 1, 1), 5, 4))


@ZOO.case("Conv Gather BatchNormalization Relu", folded=0, refused=("more than once",))
def one_channel_for_two(g: OnnxNet) -> None:
    g.output(normed(g, gather(g, convolved(g), 0, 0, 1), 3))


@ZOO.case("Conv Gather Gather Slice Relu Sigmoid Tanh", folded=3)
def three_parts(g: OnnxNet) -> None:
    y = convolved(g)
    parts = gather(g, y, 5, 0), gather(g, y, 2), cut(g, y, 3, 5)
    kinds = ("Relu", 2), ("Sigmoid", 1), ("Tanh", 2)
    g.output(*(normed(g, part, size, kind) for part, (kind, size) in zip(parts, kinds, strict=True)))


@ZOO.case("Conv Cast Gather BatchNormalization Relu", folded=0, refused=("lookup",), opset=13)
def by_a_computed_index(g: OnnxNet) -> None:
    y = convolved(g)
    index = g.op("Cast", g.input(6, name="i", dtype="float32"), to=7)
    g.output(normed(g, str(g.op("Gather", y, index, axis=1)), 6))


@ZOO.case("MatMul Add Gather Relu")
def one_token(g: OnnxNet) -> None:
    """The axis goes, as of the token that stands for all."""
    y = g.op("Add", g.op("MatMul", g.input("N", 3, 5), g.value(g.normal(5, 4))), g.value(g.normal(4)))
    g.output(normed(g, str(g.op("Gather", y, g.value(np.int64(0)), axis=1)), 4))


CROPS: Sequence[tuple[int, ...]] = ((2,), (3,), (2, 3), (1, 2), (1, 2, 3))


@ZOO.each("crop", CROPS, "Conv Slice Relu")
def crop(g: OnnxNet, axes: tuple[int, ...]) -> None:
    y = convolved(g)
    if g.opset < 10:
        y = str(g.op("Slice", y, starts=[1] * len(axes), ends=[-1] * len(axes), axes=list(axes)))
    else:
        values = [g.value(np.array(each, np.int64)) for each in ([1] * len(axes), [-1] * len(axes), axes)]
        y = str(g.op("Slice", y, *values))
    g.output(normed(g, y, 4 if 1 in axes else 6))


@ZOO.case("Conv Slice Slice Concat Relu")
def crops_of_one_tensor(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, str(g.op("Concat", cut(g, y, 2, 4, 2), cut(g, y, 0, 3, 2), axis=2)), 6))


@ZOO.case("Conv Slice BatchNormalization Relu Slice Sigmoid", folded=0, refused=("along|more than once",))
def a_norm_on_one_crop(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(normed(g, cut(g, y, 0, 2, 2), 6), g.op("Sigmoid", cut(g, y, 2, 4, 2)))


@ZOO.case("Relu Slice Slice Concat Conv")
def every_second_position_into_channels(g: OnnxNet) -> None:
    """As YOLO's Focus, before a convolution."""
    y = g.bn(g.op("Relu", g.input("N", 3, 6, 4)), 3)
    parts = (cut(g, y, 0, 3, 2), cut(g, y, 3, 6, 2))
    g.output(g.conv(str(g.op("Concat", *parts, axis=1)), 6, 4))
