"""ONNX: norms that must stay, each with its reason, and models that other tools break."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import TYPES, OnnxNet

ZOO = Zoo()
NORMAL = "Conv BatchNormalization Relu"


def convolved(g: OnnxNet) -> str:
    return g.conv(g.input("N", 3, 6, 5), 3, 4)


def refused(*reasons: str) -> dict[str, object]:
    return {"folded": 0, "refused": reasons}


@ZOO.case(NORMAL, opset=17, **refused("(?i)training"))
def training_mode(g: OnnxNet) -> None:
    values = [g.value(array) for array in g.bn_values(4).values()]
    y, _, _ = g.op("BatchNormalization", convolved(g), *values, outputs=3, training_mode=1)
    g.output(g.op("Relu", y))


@ZOO.case(NORMAL, opset=9, runs=False, **refused("(?i)training"))
def training_outputs_before_there_was_an_attribute(g: OnnxNet) -> None:
    values = [g.value(array) for array in g.bn_values(4).values()]
    y = g.op("BatchNormalization", convolved(g), *values, outputs=5)[0]
    g.output(g.op("Relu", y))


@ZOO.case("Conv ReduceMean Sub Mul ReduceMean Add Sqrt Div Mul Add Relu", opset=13, **refused("(?i)statistic|batch"))
def statistics_of_the_batch(g: OnnxNet) -> None:
    """track_running_stats=False, as exporters write it."""
    y = convolved(g)
    centred = str(g.op("Sub", y, g.mean(y, 0, 2, 3)))
    root = g.op("Sqrt", g.op("Add", g.mean(str(g.op("Mul", centred, centred)), 0, 2, 3), g.value(1e-3)))
    y = g.op("Mul", g.op("Div", centred, root), g.value(g.normal(4, 1, 1)))
    g.output(g.op("Relu", g.op("Add", y, g.value(g.normal(4, 1, 1)))))


@ZOO.case("Conv Sigmoid BatchNormalization Relu", **refused("(?i)sigmoid"))
def another_consumer(g: OnnxNet) -> None:
    y = convolved(g)
    other = g.op("Sigmoid", y)
    g.output(g.op("Relu", g.bn(y, 4)), other)


@ZOO.case(NORMAL, **refused("(?i)output"))
def an_output_of_the_graph_in_the_way(g: OnnxNet) -> None:
    y = convolved(g)
    g.output(g.op("Relu", g.bn(y, 4)), y)


@ZOO.case("Conv")
def the_output_of_the_norm_is_the_output_of_the_graph(g: OnnxNet) -> None:
    g.output(g.bn(convolved(g), 4))


@ZOO.case("Conv Identity")
def the_output_behind_an_identity(g: OnnxNet) -> None:
    g.output(g.op("Identity", g.bn(convolved(g), 4)))


@ZOO.case("Conv Relu Sigmoid", folded=1)
def the_norm_has_two_readers(g: OnnxNet) -> None:
    y = g.bn(convolved(g), 4)
    g.output(g.op("Relu", y), g.op("Sigmoid", y))


def behind(g: OnnxNet, kind: str) -> None:
    g.output(g.op("Relu", g.bn(str(g.op(kind, convolved(g))), 4)))


for _kind in ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Softmax"):
    _becomes = f"Conv {_kind} BatchNormalization Relu"
    ZOO.add(f"behind_{_kind}", lambda g, kind=_kind: behind(g, kind), _becomes, **refused(f"(?i){_kind}"))


@ZOO.case("Conv Mul BatchNormalization Relu", **refused("(?i)mul|nonlinear|input"))
def a_product_of_two_inputs(g: OnnxNet) -> None:
    y = g.op("Mul", convolved(g), g.input("N", 4, 4, 3, name="z"))
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("MatMul BatchNormalization Relu", **refused("(?i)matmul|constant|input|nonlinear"))
def a_product_of_two_data_tensors(g: OnnxNet) -> None:
    y = g.op("MatMul", g.input("N", 4, 5), g.input("N", 5, 6, name="z"))
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case("Conv Relu BatchNormalization Relu", **refused("(?i)computed|input"))
def computed_gamma(g: OnnxNet) -> None:
    values = [g.value(array) for array in g.bn_values(4).values()]
    y = convolved(g)
    gamma = g.op("Relu", g.input(4, name="style"))
    g.output(g.op("Relu", g.op("BatchNormalization", y, gamma, *values[1:])))


@ZOO.case("Conv BatchNormalization Relu", **refused("(?i)computed|input|constant"))
def weight_that_is_fed(g: OnnxNet) -> None:
    x, weight = g.input("N", 3, 6, 5), g.input(4, 3, 3, 3, name="w")
    g.output(g.op("Relu", g.bn(str(g.op("Conv", x, weight)), 4)))


@ZOO.case("Sigmoid Conv BatchNormalization Relu", **refused("(?i)computed|constant"))
def weight_that_is_computed(g: OnnxNet) -> None:
    x, weight = g.input("N", 3, 6, 5), g.op("Sigmoid", g.input(4, 3, 3, 3, name="w"))
    g.output(g.op("Relu", g.bn(str(g.op("Conv", x, weight)), 4)))


@ZOO.case("Conv BatchNormalization Relu", **refused("(?i)computed|input|constant"))
def bias_that_is_fed(g: OnnxNet) -> None:
    x, bias = g.input("N", 3, 6, 5), g.input(4, name="b")
    g.output(g.op("Relu", g.bn(str(g.op("Conv", x, g.value(g.normal(4, 3, 3, 3)), bias)), 4)))


@ZOO.case("DequantizeLinear Conv BatchNormalization Relu", opset=13, dtypes=("float32",), **refused("(?i)quanti"))
def quantized_weight(g: OnnxNet) -> None:
    levels = g.value(g.random.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8))
    zero = g.value(np.zeros(4, np.int8))
    weight = g.op("DequantizeLinear", levels, g.value(g.random.uniform(0.01, 0.02, 4)), zero, axis=0)
    y = g.op("Conv", g.input("N", 3, 6, 5), weight)
    g.output(g.op("Relu", g.bn(str(y), 4)))


@ZOO.case(
    "Conv QuantizeLinear DequantizeLinear BatchNormalization Relu",
    opset=13,
    dtypes=("float32",),
    **refused("(?i)quanti"),
)
def quantized_in_between(g: OnnxNet) -> None:
    scale, zero = g.value(np.float32(0.05)), g.value(np.int8(0))
    y = g.op("DequantizeLinear", g.op("QuantizeLinear", convolved(g), scale, zero), scale, zero)
    g.output(g.op("Relu", g.bn(str(y), 4)))


def listed(g: OnnxNet, names: list[str]) -> None:
    for name in names:
        array = g.constants[name]
        kind = TYPES[g.dtype] if array.dtype.kind == "f" else 7
        g.inputs.append(helper.make_tensor_value_info(name, kind, array.shape))


@ZOO.case(NORMAL, **refused("(?i)input"))
def weight_with_a_default_that_a_caller_may_override(g: OnnxNet) -> None:
    weight = g.value(g.normal(4, 3, 3, 3), "overridable")
    y = g.conv(g.input("N", 3, 6, 5), 3, 4, weight=weight)
    listed(g, [weight])
    g.output(g.op("Relu", g.bn(y, 4)))


@ZOO.case(NORMAL, **refused("(?i)input"))
def gamma_with_a_default_that_a_caller_may_override(g: OnnxNet) -> None:
    y = g.bn(convolved(g), 4)
    listed(g, [next(name for name in g.constants if name.endswith("gamma"))])
    g.output(g.op("Relu", y))


@ZOO.each("all_initializers_are_listed", [3, 4, 6], "Conv Conv Relu", opset=9, folded=2)
def all_initializers_are_listed(g: OnnxNet, ir: int) -> None:
    """As exporters did before IR version 4, where it was a must."""
    y = g.bn(convolved(g), 4)
    y = g.bn(g.conv(y, 4, 5, bias=False), 5)
    listed(g, list(g.constants))
    g.ir = ir
    g.output(g.op("Relu", y))


# Numbers.


def broken(g: OnnxNet, **values: float) -> None:
    arrays = g.bn_values(4)
    for name, value in values.items():
        arrays[name][1] = value
    g.output(g.op("Relu", g.bn(convolved(g), 4, names=[g.value(array) for array in arrays.values()], epsilon=1e-5)))


for _name, _value, _word in (
    ("var", -1.0, "negative"),
    ("var", float("nan"), "finite"),
    ("var", float("inf"), "finite"),
    ("mean", float("inf"), "finite"),
    ("gamma", float("nan"), "finite"),
    ("beta", float("-inf"), "finite"),
):
    ZOO.add(
        f"{_name}_is_{_value}",
        lambda g, name=_name, value=_value: broken(g, **{name: value}),
        NORMAL,
        runs=False,
        **refused(f"(?i){_word}"),
    )


@ZOO.each("tiny_variance", [0.0, 1e-30, 1e-12], "Conv Relu", dtypes=("float64",))
def tiny_variance(g: OnnxNet, value: float) -> None:
    """Dead channels: eps alone is left under the root."""
    broken(g, var=value)


def half(g: OnnxNet, weight: float, gamma: float) -> None:
    """Small activations between a large weight and a large gamma, so that the model itself is well."""
    x = g.op("HardSigmoid", g.input("N", 3, 6, 5), alpha=2.0**-10, beta=0.0)
    y = g.op("Conv", x, g.value(np.full((4, 3, 1, 1), float(weight))))
    ones = np.ones(4)
    names = [g.value(array) for array in (gamma * ones, 0 * ones, 0 * ones, ones)]
    g.output(g.op("Relu", g.bn(str(y), 4, names=names)))


HALF = {"opset": 13, "dtypes": ("float16",)}
ZOO.add(
    "half_overflow",
    lambda g: half(g, 300, 300),
    "HardSigmoid " + NORMAL,
    **HALF,
    **refused("(?i)overflow|range|float16"),
)
ZOO.add(
    "half_underflow",
    lambda g: half(g, 1e-3, 1e-3),
    "HardSigmoid " + NORMAL,
    **HALF,
    **refused("(?i)ulp|digit|lose|loss|underflow|float16"),
)
ZOO.add("half", lambda g: half(g, 3, 3), "HardSigmoid Conv Relu", **HALF)


@ZOO.case("Conv Relu", opset=23, dtypes=("bfloat16",))
def bfloat16(g: OnnxNet) -> None:
    g.output(g.op("Relu", g.bn(convolved(g), 4)))


@ZOO.case("Conv Cast Relu", opset=13, dtypes=("float16",))
def half_convolution_and_single_norm(g: OnnxNet) -> None:
    y = g.op("Cast", convolved(g), to=1)
    names = [g.value(array, dtype="float32") for array in g.bn_values(4).values()]
    g.output(g.op("Relu", g.bn(str(y), 4, names=names)), dtype="float32")


@ZOO.case("Conv Relu", opset=17, dtypes=("float16",))
def half_data_and_single_parameters(g: OnnxNet) -> None:
    """From operator set 15 on, the norm's parameters may be wider than its data."""
    names = [g.value(array, dtype="float32") for array in g.bn_values(4).values()]
    g.output(g.op("Relu", g.bn(convolved(g), 4, names=names)))
