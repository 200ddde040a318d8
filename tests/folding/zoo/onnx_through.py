"""ONNX: norms that go into the layer before, through what lies between."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()
STAYS = {"folded": 0, "refused": ("",)}


def convolved(g: OnnxNet, *, channels: int = 4, size: tuple[int, int] = (8, 7), kernel: Any = 3) -> str:
    return g.conv(g.input("N", 3, *size), 3, channels, kernel)


def finish(g: OnnxNet, y: str, channels: int = 4, **options: Any) -> None:
    g.output(g.op("Relu", g.bn(y, channels, **options)))


@ZOO.case("Conv Identity Relu")
def identity(g: OnnxNet) -> None:
    finish(g, g.op("Identity", convolved(g)))


@ZOO.each("dropout", [9, 11, 13, 21], "Conv Dropout Relu")
def dropout(g: OnnxNet, opset: int) -> None:
    g.opset, g.domains = opset, {"": opset}
    finish(g, g.dropout(convolved(g)))


@ZOO.case("Conv Cast Relu", dtypes=("float32",))
def cast_that_is_exact(g: OnnxNet) -> None:
    y = g.op("Cast", convolved(g), to=11)
    names = [g.value(array, dtype="float64") for array in g.bn_values(4).values()]
    g.output(g.op("Relu", g.bn(y, 4, names=names)), dtype="float64")


@ZOO.case(
    "Conv Cast BatchNormalization Cast Relu", dtypes=("float32",), folded=0, refused=("(?i)cast|round",), opset=17
)
def cast_that_loses_digits(g: OnnxNet) -> None:
    y = g.op("Cast", convolved(g), to=10)
    names = [g.value(array, dtype="float16") for array in g.bn_values(4).values()]
    g.output(g.op("Relu", g.op("Cast", g.bn(y, 4, names=names), to=1)))


@ZOO.case("Conv GlobalAveragePool Flatten Relu")
def pool_and_flatten(g: OnnxNet) -> None:
    finish(g, g.op("Flatten", g.op("GlobalAveragePool", convolved(g))))


@ZOO.case("Conv Flatten BatchNormalization Relu", **STAYS)
def flatten_positions_into_features(g: OnnxNet) -> None:
    """Every position has a norm channel of its own."""
    finish(g, g.op("Flatten", convolved(g, size=(5, 4))), 4 * 3 * 2)


@ZOO.each("reshape", [(0, 0, -1), (0, 4, -1), (-1, 4, 30), (0, 4, 5, 6), (0, 0, 3, 2, 5)], "Conv Reshape Relu")
def reshape_of_positions(g: OnnxNet, shape: tuple[int, ...]) -> None:
    finish(g, g.reshape(convolved(g), *shape))


@ZOO.case("Conv Reshape BatchNormalization Relu", **STAYS)
def reshape_that_mixes_batch_and_channel(g: OnnxNet) -> None:
    finish(g, g.reshape(convolved(g), -1, 5, 6), 5)


@ZOO.case("Conv Reshape BatchNormalization Relu", **STAYS)
def reshape_that_cuts_across_channels(g: OnnxNet) -> None:
    """(4, 30) read as (5, 24): no norm channel lies in one channel of the convolution."""
    finish(g, g.reshape(convolved(g), 0, 5, 24), 5)


@ZOO.case("Gemm Reshape Relu")
def features_into_channels_and_positions(g: OnnxNet) -> None:
    """Gemm to (N, 4 * 6), read as (N, 4, 2, 3): each norm channel is six features."""
    y = g.op("Gemm", g.input("N", 5), g.value(g.normal(5, 24)), g.value(g.normal(24)))
    finish(g, g.reshape(y, -1, 4, 2, 3))


@ZOO.case("Conv Reshape Reshape Relu", folded=None)
def scale_of_groups_of_channels(g: OnnxNet) -> None:
    """A constant over the two halves of the channels is constant on each channel."""
    y = g.reshape(convolved(g), 0, 2, 2, 5, 6)
    y = g.op("Mul", y, g.value(g.normal(2, 1, 1, 1)))
    g.output(g.op("Relu", g.reshape(y, 0, 4, 5, 6)))


@ZOO.each("squeeze", [1, 2], "Conv Squeeze Relu")
def squeeze(g: OnnxNet, axes: int) -> None:
    kernel = (8, 3) if axes == 1 else (8, 7)
    finish(g, g.squeeze(convolved(g, kernel=kernel), *((2,) if axes == 1 else (2, -1))))


@ZOO.each("unsqueeze", [2, 3, -1], "Conv Unsqueeze Relu")
def unsqueeze(g: OnnxNet, axis: int) -> None:
    if g.opset < 11:
        axis %= 4
    finish(g, g.unsqueeze(g.conv(g.input("N", 3, 9), 3, 4, 3, rank=1), axis))


@ZOO.case("Gemm Unsqueeze Relu")
def unsqueeze_of_features(g: OnnxNet) -> None:
    y = g.op("Gemm", g.input("N", 5), g.value(g.normal(5, 4)), g.value(g.normal(4)))
    finish(g, g.unsqueeze(y, 2))


@ZOO.case("Conv Unsqueeze Squeeze Relu")
def unsqueeze_in_front_of_the_channel(g: OnnxNet) -> None:
    y = g.unsqueeze(convolved(g), 0)
    finish(g, g.squeeze(y, 0))


@ZOO.case("Conv Transpose Relu")
def transpose_of_positions(g: OnnxNet) -> None:
    finish(g, g.op("Transpose", convolved(g), perm=[0, 1, 3, 2]))


@ZOO.case("Conv Transpose BatchNormalization Relu", **STAYS)
def transpose_of_the_channel(g: OnnxNet) -> None:
    """Where onnxruntime's own fusion of MatMul and BatchNormalization is wrong."""
    finish(g, g.op("Transpose", convolved(g), perm=[0, 2, 1, 3]), 6)


@ZOO.case("Conv Transpose Transpose Relu")
def channels_last_and_back(g: OnnxNet) -> None:
    y = g.op("Transpose", convolved(g), perm=[0, 2, 3, 1])
    finish(g, g.op("Transpose", y, perm=[0, 3, 1, 2]))


@ZOO.case("Conv Transpose Relu", folded=None)
def plain_scale_on_channels_last(g: OnnxNet) -> None:
    y = g.op("Transpose", convolved(g), perm=[0, 2, 3, 1])
    g.output(g.op("Relu", g.op("Mul", y, g.value(g.normal(4)))))


@ZOO.case("MatMul Add Reshape BatchNormalization Relu", **STAYS)
def square_matmul_whose_reshape_moves_the_channel(g: OnnxNet) -> None:
    """(N, 4, 4) with tokens first: the norm's channels are the tokens, of the same number as the features."""
    y = g.op("Add", g.op("MatMul", g.input("N", 4, 5), g.value(g.normal(5, 4))), g.value(g.normal(4)))
    finish(g, g.reshape(y, -1, 4, 2, 2))


@ZOO.each("shuffle", [2, 3], "Conv Reshape Transpose Reshape Relu")
def channel_shuffle(g: OnnxNet, groups: int) -> None:
    y = g.reshape(convolved(g, channels=6), -1, groups, 6 // groups, 6, 5)
    y = g.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    finish(g, g.reshape(y, -1, 6, 6, 5), 6)


@ZOO.case("Conv Reshape Transpose Reshape Relu")
def pixel_shuffle_by_reshapes(g: OnnxNet) -> None:
    y = g.reshape(convolved(g, channels=8), -1, 2, 2, 2, 6, 5)
    y = g.op("Transpose", y, perm=[0, 1, 4, 2, 5, 3])
    finish(g, g.reshape(y, -1, 2, 12, 10), 2)


# Windows over positions.


@ZOO.each(
    "average_pool",
    ["plain", "stride", "excluded_padding", "same_upper"],
    "Conv AveragePool Relu",
)
def average_pool(g: OnnxNet, how: str) -> None:
    attributes = {
        "plain": {},
        "stride": {"strides": [2, 2]},
        "excluded_padding": {"pads": [1, 1, 0, 1], "count_include_pad": 0},
        "same_upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    }[how]
    finish(g, g.op("AveragePool", convolved(g), kernel_shape=[3, 2], **attributes))


@ZOO.case("Conv AveragePool Relu", opset=21)
def ceil_mode_without_a_remainder(g: OnnxNet) -> None:
    finish(g, g.op("AveragePool", convolved(g, size=(8, 6)), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))


@ZOO.each("ceil_mode_with_a_remainder", [(10, 0), (17, 0), (21, 0), (17, 1)], "Conv AveragePool Relu")
def ceil_mode_with_a_remainder(g: OnnxNet, value: tuple[int, int]) -> None:
    """What lies beyond the border is not counted, padded or not."""
    g.opset, padded = value
    g.domains = {"": g.opset}
    pads = {"pads": [1, 1, 1, 0]} if padded else {}
    finish(g, g.op("AveragePool", convolved(g), kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, **pads))


def summed(g: OnnxNet, kind: str, size: int) -> str:
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}
    y = g.op("Identity", g.op(kind, convolved(g, size=(size, size), kernel=1), **pool))
    return str(g.op("ReduceSum", y, g.value([2, 3])))


for _kind in ("AveragePool", "MaxPool"):
    ZOO.add(
        f"sum_over_windows_{_kind}",
        lambda g, kind=_kind: finish(g, summed(g, kind, 6), sign=1),
        f"Conv {_kind} Identity ReduceSum Relu",
        opset=17,
    )
    # A last window of 5 x 5 begins in the padding: onnxruntime drops it, ONNX's shape inference does not.
    ZOO.add(
        f"sum_over_windows_that_may_not_count_{_kind}",
        lambda g, kind=_kind: finish(g, summed(g, kind, 5), sign=1),
        f"Conv {_kind} Identity ReduceSum Add Relu",
        opset=17,
    )


@ZOO.case("Conv AveragePool Add Relu", opset=21)
def ceil_mode_that_counts_what_is_padded(g: OnnxNet) -> None:
    pool = {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 1}
    finish(g, g.op("AveragePool", convolved(g), **pool))


@ZOO.case("Conv AveragePool Add Relu")
def average_pool_that_counts_its_padding(g: OnnxNet) -> None:
    finish(g, g.op("AveragePool", convolved(g), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))


@ZOO.case("Conv AveragePool Relu")
def counted_padding_and_no_shift(g: OnnxNet) -> None:
    y = g.op("AveragePool", convolved(g), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    finish(g, y, shift=False)


@ZOO.case("Conv GlobalAveragePool Relu")
def global_average_pool(g: OnnxNet) -> None:
    finish(g, g.op("GlobalAveragePool", convolved(g)))


@ZOO.each("reduce_mean", [(2, 3, 1), (2, 3, 0), (-1, -2, 0)], "Conv ReduceMean Relu")
def reduce_mean(g: OnnxNet, value: tuple[int, int, int]) -> None:
    first, second, keepdims = value
    if g.opset < 11:
        first, second = first % 4, second % 4
    finish(g, g.mean(convolved(g), first, second, keepdims=keepdims))


@ZOO.case("Conv ReduceMean BatchNormalization Relu", **STAYS)
def mean_over_the_channel(g: OnnxNet) -> None:
    finish(g, g.mean(convolved(g), 1, keepdims=0), 6)


def pooled(g: OnnxNet, how: str) -> str:
    if how == "global":
        return str(g.op("GlobalMaxPool", convolved(g)))
    pads = {"pads": [1, 1, 1, 0]} if how == "padding" else {}
    return str(g.op("MaxPool", convolved(g), kernel_shape=[3, 2], strides=[2, 1], **pads))


for _how in ("plain", "padding", "global"):
    _kind = "GlobalMaxPool" if _how == "global" else "MaxPool"
    ZOO.add(f"max_pool_{_how}_positive", lambda g, how=_how: finish(g, pooled(g, how), sign=1), f"Conv {_kind} Relu")
    ZOO.add(
        f"max_pool_{_how}_negative",
        lambda g, how=_how: finish(g, pooled(g, how)),
        f"Conv {_kind} BatchNormalization Relu",
        folded=0,
        refused=("(?i)negative|pool",),
    )


@ZOO.case("Conv MaxPool Relu")
def max_pool_and_a_scale_of_zero(g: OnnxNet) -> None:
    values = g.bn_values(4, sign=1)
    values["gamma"][1] = 0
    finish(g, pooled(g, "plain"), names=[g.value(array) for array in values.values()])


@ZOO.each("resize", [("nearest", 11), ("nearest", 13), ("linear", 11), ("linear", 17)], "Conv Resize Relu")
def resize(g: OnnxNet, value: tuple[str, int]) -> None:
    mode, opset = value
    g.opset, g.domains = opset, {"": opset}
    finish(g, g.resize(convolved(g), 1, 1, 2, 1.5 if mode == "linear" else 3, mode=mode))


@ZOO.each("upsample", ["nearest", "linear"], "Conv Upsample Relu", opset=9, dtypes=("float32",))
def upsample(g: OnnxNet, mode: str) -> None:
    finish(g, g.resize(convolved(g), 1, 1, 2, 3, mode=mode))


@ZOO.case("Conv Resize Relu", opset=10, dtypes=("float32",))
def resize_of_opset_10(g: OnnxNet) -> None:
    finish(g, g.resize(convolved(g), 1, 1, 2, 3))


@ZOO.case("Conv Resize Relu|Conv Resize BatchNormalization Relu", folded=None, opset=13)
def resize_cubic(g: OnnxNet) -> None:
    """Its weights sum to one; the issue asks for nearest and linear only."""
    finish(g, g.resize(convolved(g), 1, 1, 2, 2, mode="cubic"))


@ZOO.case("Conv Resize BatchNormalization Relu", opset=13, **STAYS)
def resize_that_fills_with_a_value(g: OnnxNet) -> None:
    """Outside the region it writes extrapolation_value, which no norm has seen."""
    y = convolved(g)
    roi = g.value(np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], np.float32), dtype="float32")
    scales = g.value(np.array([1, 1, 2, 2], np.float32), dtype="float32")
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0}
    finish(g, g.op("Resize", y, roi, scales, mode="linear", **options))


@ZOO.case("Conv Resize BatchNormalization Relu", opset=13, **STAYS)
def resize_of_the_channels(g: OnnxNet) -> None:
    finish(g, g.resize(convolved(g), 1, 2, 1, 1), 8)


@ZOO.case("Conv Pad Add Relu")
def zeros_around_the_positions(g: OnnxNet) -> None:
    finish(g, g.pad(convolved(g), 0, 0, 1, 1, 0, 0, 1, 0))


@ZOO.case("Conv Pad Relu")
def zeros_around_the_positions_and_no_shift(g: OnnxNet) -> None:
    finish(g, g.pad(convolved(g), 0, 0, 1, 1, 0, 0, 1, 0), shift=False)


@ZOO.each("depth_to_space", ["DCR", "CRD", None], "Conv DepthToSpace Relu", opset=13)
def depth_to_space(g: OnnxNet, mode: str | None) -> None:
    finish(g, g.op("DepthToSpace", convolved(g, channels=12), blocksize=2, mode=mode), 3)


@ZOO.case("Conv DepthToSpace SpaceToDepth Relu", opset=13)
def to_positions_and_back(g: OnnxNet) -> None:
    """In another order, so that the channels are moved."""
    y = g.op("DepthToSpace", convolved(g, channels=12), blocksize=2, mode="CRD")
    finish(g, g.op("SpaceToDepth", y, blocksize=2), 12)


@ZOO.case("Relu SpaceToDepth Conv", opset=13)
def space_to_depth_in_front_of_the_layer(g: OnnxNet) -> None:
    y = g.bn(g.op("Relu", g.input("N", 3, 6, 4)), 3)
    g.output(g.conv(g.op("SpaceToDepth", y, blocksize=2), 12, 4, 2))


@ZOO.case("Conv SpaceToDepth BatchNormalization Relu", opset=13, **STAYS)
def space_to_depth_with_a_norm_for_each_position(g: OnnxNet) -> None:
    finish(g, g.op("SpaceToDepth", convolved(g, size=(8, 6)), blocksize=2), 16)


@ZOO.each("reduce_sum", [(2, 3, 1), (2, 3, 0), (3, 0)], "Conv ReduceSum Relu")
def reduce_sum(g: OnnxNet, value: tuple[int, ...]) -> None:
    *axes, keepdims = value
    finish(g, g._axes("ReduceSum", convolved(g), axes, 13, keepdims=keepdims))
