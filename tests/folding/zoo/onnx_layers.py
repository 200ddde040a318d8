"""ONNX: gamma and beta of LayerNorm and RMSNorm, which go into the linear layers after (`--norms batch,layer`)."""

from __future__ import annotations

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()
BOTH = {"norms": frozenset({"batch", "layer"})}
OPTIONS = {"opset": 17, **BOTH}


def layer_norm(g: OnnxNet, x: str, size: int = 6, *, bias: bool = True) -> str:
    values = [g.value(g.normal(size)), *([g.value(g.normal(size))] if bias else [])]
    return str(g.op("LayerNormalization", x, *values, axis=-1, epsilon=1e-3))


def rms_norm(g: OnnxNet, x: str, size: int = 6) -> str:
    """As opset 17 writes it: x / sqrt(mean(x^2) + eps) * gamma."""
    root = g.op("Sqrt", g.op("Add", g.mean(str(g.op("Mul", x, x)), -1), g.value(1e-3)))
    return str(g.op("Mul", g.op("Div", x, root), g.value(g.normal(size))))


def linear(g: OnnxNet, x: str, outputs: int, *, bias: bool = True) -> str:
    y = str(g.op("MatMul", x, g.value(g.normal(6, outputs))))
    return str(g.op("Add", y, g.value(g.normal(outputs)))) if bias else y


def tokens(g: OnnxNet) -> str:
    return g.input("N", 5, 6)


@ZOO.each("one_linear", [True, False], "LayerNormalization MatMul Add Relu", **OPTIONS)
def one_linear(g: OnnxNet, bias: bool) -> None:
    g.output(g.op("Relu", linear(g, layer_norm(g, tokens(g)), 4, bias=bias)))


@ZOO.case("LayerNormalization MatMul Relu", **OPTIONS)
def without_beta(g: OnnxNet) -> None:
    g.output(g.op("Relu", linear(g, layer_norm(g, tokens(g), bias=False), 4, bias=False)))


@ZOO.case("LayerNormalization Gemm Relu", **OPTIONS)
def gemm(g: OnnxNet) -> None:
    y = layer_norm(g, g.input("N", 6))
    g.output(g.op("Relu", g.op("Gemm", y, g.value(g.normal(4, 6)), g.value(g.normal(4)), transB=1)))


@ZOO.case("LayerNormalization MatMul Add MatMul Add MatMul Add Relu Relu Relu", **OPTIONS)
def query_key_and_value(g: OnnxNet) -> None:
    y = layer_norm(g, tokens(g))
    g.output(*[g.op("Relu", name) for name in [linear(g, y, 4), linear(g, y, 3), linear(g, y, 2)]])


@ZOO.case("LayerNormalization Dropout Reshape MatMul Add Relu", **OPTIONS)
def through_dropout_and_reshape(g: OnnxNet) -> None:
    y = g.reshape(g.dropout(layer_norm(g, tokens(g))), -1, 6)
    g.output(g.op("Relu", linear(g, y, 4)))


@ZOO.case("LayerNormalization MatMul Add Relu Relu", folded=0, refused=("(?i)relu|nonlinear",), **OPTIONS)
def one_consumer_is_not_linear(g: OnnxNet) -> None:
    y = layer_norm(g, tokens(g))
    g.output(g.op("Relu", linear(g, y, 4)), g.op("Relu", y))


@ZOO.case("LayerNormalization MatMul Add Add", folded=0, refused=("(?i)add|nonlinear|used",), **OPTIONS)
def a_residual(g: OnnxNet) -> None:
    """The block of a post-norm transformer: the norm's output is added to what comes after it."""
    y = layer_norm(g, tokens(g))
    g.output(g.op("Add", linear(g, y, 6), y))


@ZOO.case("LayerNormalization MatMul Add Relu", folded=0, opset=17)
def not_by_default(g: OnnxNet) -> None:
    g.output(g.op("Relu", linear(g, layer_norm(g, tokens(g)), 4)))


@ZOO.case("Mul ReduceMean Add Sqrt Div MatMul Add Relu", **OPTIONS)
def decomposed_rms_norm(g: OnnxNet) -> None:
    g.output(g.op("Relu", linear(g, rms_norm(g, tokens(g)), 4)))


@ZOO.case("Mul ReduceMean Add Sqrt Div MatMul MatMul Relu Relu", **OPTIONS)
def decomposed_rms_norm_with_two_linear_layers(g: OnnxNet) -> None:
    y = rms_norm(g, tokens(g))
    g.output(*[g.op("Relu", name) for name in [linear(g, y, 4, bias=False), linear(g, y, 3, bias=False)]])


@ZOO.each("decomposed_layer_norm", [13, 17], "ReduceMean Sub Pow ReduceMean Add Sqrt Div MatMul Add Relu", **BOTH)
def decomposed_layer_norm(g: OnnxNet, opset: int) -> None:
    g.opset, g.domains = opset, {"": opset}
    x = tokens(g)
    centred = str(g.op("Sub", x, g.mean(x, -1)))
    variance = g.mean(str(g.op("Pow", centred, g.value(2.0))), -1)
    y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.value(1e-3))))
    y = g.op("Add", g.op("Mul", y, g.value(g.normal(6))), g.value(g.normal(6)))
    g.output(g.op("Relu", linear(g, y, 4)))


@ZOO.case("RMSNormalization MatMul Add Relu", opset=23, dtypes=("float32",), **BOTH)
def rms_normalization(g: OnnxNet) -> None:
    y = g.op("RMSNormalization", tokens(g), g.value(g.normal(6)), axis=-1, epsilon=1e-3)
    g.output(g.op("Relu", linear(g, y, 4)))


@ZOO.case("Transpose LayerNormalization Transpose Conv Relu", **OPTIONS)
def into_a_convolution(g: OnnxNet) -> None:
    """ConvNeXt: a norm over the channels, channels last, before a pointwise convolution."""
    y = layer_norm(g, str(g.op("Transpose", g.input("N", 6, 5, 4), perm=[0, 2, 3, 1])))
    y = str(g.op("Transpose", y, perm=[0, 3, 1, 2]))
    g.output(g.op("Relu", g.conv(y, 6, 4, 1)))


@ZOO.case("Conv Relu LayerNormalization MatMul Add Relu", folded=2, **OPTIONS)
def beside_a_batch_norm(g: OnnxNet) -> None:
    y = g.op("Relu", g.bn(g.conv(g.input("N", 3, 8), 3, 5, rank=1), 5))
    g.output(g.op("Relu", linear(g, layer_norm(g, str(y)), 4)))


@ZOO.case("LayerNormalization MatMul MatMul Relu Relu", folded=1, **OPTIONS)
def two_linear_layers_with_one_weight(g: OnnxNet) -> None:
    """One reads the norm, the other does not."""
    weight = g.value(g.normal(6, 4))
    y = g.op("MatMul", layer_norm(g, tokens(g), bias=False), weight)
    z = g.op("MatMul", g.input("N", 5, 6, name="z"), weight)
    g.output(g.op("Relu", y), g.op("Relu", z))


IN_PIECES = "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add Transpose"


@ZOO.case(f"{IN_PIECES} Relu|{IN_PIECES} BatchNormalization Relu", opset=17, folded=None)
def batch_norm_behind_a_decomposed_layer_norm(g: OnnxNet) -> None:
    """It goes into the gamma and beta of the other, or stays."""
    x = tokens(g)
    centred = str(g.op("Sub", x, g.mean(x, -1)))
    root = g.op("Sqrt", g.op("Add", g.mean(str(g.op("Pow", centred, g.value(2.0))), -1), g.value(1e-3)))
    y = g.op("Mul", g.op("Div", centred, root), g.value(g.normal(6)))
    y = g.op("Transpose", g.op("Add", y, g.value(g.normal(6))), perm=[0, 2, 1])
    g.output(g.op("Relu", g.bn(str(y), 6)))


@ZOO.case("LayerNormalization Transpose Relu", opset=17)
def batch_norm_behind_a_layer_norm(g: OnnxNet) -> None:
    y = g.op("Transpose", layer_norm(g, tokens(g)), perm=[0, 2, 1])
    g.output(g.op("Relu", g.bn(str(y), 6)))


# Over the channels of images, where gamma is (C, 1, 1), and norms written out in ways that are none of ours.


def over_channels(g: OnnxNet, x: str, *shape: int) -> str:
    centred = g.op("Sub", x, g.mean(x, 1))
    variance = g.mean(str(g.op("Mul", centred, centred)), 1)
    y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.value(1e-3))))
    return str(g.op("Add", g.op("Mul", y, g.value(g.normal(*shape))), g.value(g.normal(*shape))))


@ZOO.each(
    "channels_first", [(6, 1, 1), (1, 6, 1, 1)], "ReduceMean Sub Mul ReduceMean Add Sqrt Div Conv Relu", **OPTIONS
)
def channels_first(g: OnnxNet, shape: tuple[int, ...]) -> None:
    y = over_channels(g, g.input("N", 6, 5, 4), *shape)
    g.output(g.op("Relu", g.conv(y, 6, 4, 2, strides=[2, 2])))


@ZOO.case("ReduceMean Sub Abs ReduceMean Div Mul Add Relu", folded=0)
def gamma_and_beta_of_an_unknown_norm(g: OnnxNet) -> None:
    """Divided by the mean deviation: what follows is no BatchNorm that was taken apart."""
    x = g.input("N", 6, 5, 4)
    centred = g.op("Sub", x, g.mean(x, 2, 3))
    y = g.op("Div", centred, g.mean(str(g.op("Abs", centred)), 2, 3))
    y = g.op("Mul", y, g.value(g.normal(6, 1, 1)))
    g.output(g.op("Relu", g.op("Add", y, g.value(g.normal(6, 1, 1)))))


@ZOO.case(
    "GlobalAveragePool Conv Sigmoid Mul Mul Add Relu",
    folded=0,
    refused=("a product of two tensors",),
)
def a_norm_after_a_gate(g: OnnxNet) -> None:
    """Squeeze-and-excite is no normalization: what follows may well be a BatchNorm."""
    x = g.input("N", 6, 5, 4)
    gate = g.op("Sigmoid", g.conv(g.op("GlobalAveragePool", x), 6, 6, 1))
    y = g.op("Mul", g.op("Mul", x, gate), g.value(g.normal(6, 1, 1)))
    g.output(g.op("Relu", g.op("Add", y, g.value(g.normal(6, 1, 1)))))
