"""A random network of the grammar as an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx

from tests.folding.zoo.grammar import Network, Part
from tests.nets.onnx.net import Array, OnnxNet


def to_onnx(network: Network, dtype: str = "float32", opset: int = 17) -> onnx.ModelProto:
    net = OnnxNet(dtype, opset, network.seed)
    emitter = _Emitter(net, network)
    tensors: dict[int, str | list[str]] = {}
    for index, part in enumerate(network.parts):
        reads = [tensors[read] for read in part.reads]
        tensors[index] = reads[0][part.number] if part.kind == "piece" else emitter.emit(part, reads)
    outputs = [str(tensors[index]) for index in network.outputs]
    fed = outputs.index("x") if "x" in outputs else None
    if fed is not None:  # an input cannot be an output
        outputs[fed] = str(net.op("Identity", "x"))
    net.output(*outputs)
    return net.model()


class _Emitter:
    def __init__(self, net: OnnxNet, network: Network) -> None:
        self.net, self.network = net, network
        self.weights: dict[tuple[int, ...], str] = {}

    def emit(self, part: Part, reads: list) -> str | list[str]:  # type: ignore[type-arg]
        return getattr(self, part.kind, self.plain)(part, *reads)  # type: ignore[no-any-return]

    def input(self, part: Part) -> str:
        return self.net.input("N", *part.shape)

    def plain(self, part: Part, *reads: str) -> str:
        kinds = {"identity": "Identity", "global_average": "GlobalAveragePool", "flatten": "Flatten"}
        return str(self.net.op(kinds[part.kind], *reads))

    def act(self, part: Part, x: str) -> str:
        return str(self.net.op(part.form.capitalize(), x))

    def dropout(self, part: Part, x: str) -> str:
        return self.net.dropout(x)

    def average(self, part: Part, x: str) -> str:
        return str(self.net.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4))

    def counted_average(self, part: Part, x: str) -> str:
        return str(self.net.op("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1))

    def max(self, part: Part, x: str) -> str:
        return str(self.net.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4))

    def turn(self, part: Part, x: str) -> str:
        there = self.net.op("Transpose", x, perm=[0, 2, 3, 1])
        return str(self.net.op("Transpose", there, perm=[0, 3, 1, 2]))

    def fold_positions(self, part: Part, x: str) -> str:
        channels, height, width = part.shape
        return self.net.reshape(self.net.reshape(x, 0, channels, -1), -1, channels, height, width)

    def shuffle(self, part: Part, x: str) -> str:
        channels, height, width = part.shape
        y = self.net.reshape(x, -1, 2, channels // 2, height, width)
        return self.net.reshape(str(self.net.op("Transpose", y, perm=[0, 2, 1, 3, 4])), -1, channels, height, width)

    def pixels(self, part: Part, x: str) -> str:
        """Channels to positions and back, from operator set 11 on in another order."""
        mode = "CRD" if self.net.opset > 10 else None
        return str(self.net.op("SpaceToDepth", self.net.op("DepthToSpace", x, blocksize=2, mode=mode), blocksize=2))

    def reverse(self, part: Part, x: str) -> str:
        return self.gathered(x, range(part.channels)[::-1])

    def split(self, part: Part, x: str) -> list[str]:
        first, second = range(part.parts[0]), range(part.parts[0], part.channels)
        if part.form == "slices":
            return [self.sliced(x, first), self.sliced(x, second)]
        return (
            [self.gathered(x, first), self.gathered(x, second)]
            if part.form == "gathers"
            else self.net.split(x, *part.parts)
        )

    def gathered(self, x: str, channels: range) -> str:
        return str(self.net.op("Gather", x, self.net.value(np.array(channels, np.int64)), axis=1))

    def sliced(self, x: str, channels: range) -> str:
        if self.net.opset < 10:
            return str(self.net.op("Slice", x, starts=[channels.start], ends=[channels.stop], axes=[1]))
        bounds = (self.net.value(np.array([each], np.int64)) for each in (channels.start, channels.stop, 1))
        return str(self.net.op("Slice", x, *bounds))

    def concat(self, part: Part, *reads: str) -> str:
        return str(self.net.op("Concat", *reads, axis=1))

    def add(self, part: Part, *reads: str) -> str:
        if len(reads) == 2:
            return str(self.net.op("Add" if part.sign == 1 else "Sub", *reads))
        return str(self.net.op("Sum", *reads))

    def choose(self, part: Part, *reads: str) -> str:
        return str(self.net.op("Where", self.net.value(self.net.normal(1, 1, *part.shape[1:]) > 0), *reads))

    def twice(self, part: Part, x: str) -> str:
        return str(self.net.op("Add", x, x))

    def spread(self, part: Part, x: str) -> str:
        mean = str(self.net.op("GlobalAveragePool", x))
        return str(self.net.op("Expand", mean, self.net.value(np.array([1, 1, *part.shape[1:]], np.int64))))

    def weight(self, part: Part, *shape: int) -> str:
        """A new weight, or one that another layer of this shape has."""
        if not (part.shared and shape in self.weights):
            fan = shape[-1] if len(shape) == 2 else shape[1] * shape[-1] ** 2
            self.weights[shape] = self.net.value(self.net.normal(*shape, scale=fan**-0.5))
        return self.weights[shape]

    def linear(self, part: Part, x: str) -> str:
        inputs = self.network.parts[part.reads[0]].channels
        if len(part.shape) == 1:
            return self.features(part, x, inputs)
        first, second = (inputs, part.channels) if part.form == "up" else (part.channels, inputs)
        weight = self.weight(part, first, second // part.groups, part.kernel, part.kernel)
        return self.net.conv(
            x,
            inputs,
            part.channels,
            part.kernel,
            groups=part.groups,
            bias=part.bias,
            transposed=part.form == "up",
            weight=weight,
            pads=[1] * 4 if part.padded else None,
        )

    def features(self, part: Part, x: str, inputs: int) -> str:
        if part.form == "gemm":
            weight = self.weight(part, part.channels, inputs)
            extra = [self.net.value(self.net.normal(part.channels))] if part.bias or self.net.opset < 11 else []
            return str(self.net.op("Gemm", x, weight, *extra, transB=1, alpha=0.5))
        y = self.net.op("MatMul", x, self.weight(part, inputs, part.channels))
        if part.form == "matmul":
            return str(y)
        return str(self.net.op("Add", y, self.net.value(self.net.normal(part.channels))))

    def gamma(self, part: Part) -> Array:
        gamma = self.net.random.uniform(0.3, 2, part.channels)
        if part.gamma == "mixed":
            gamma[0] *= -1
        if part.gamma == "zero":
            gamma[0] = 0
        return gamma

    def norm(self, part: Part, x: str) -> str:
        values = self.net.bn_values(part.channels, shift=part.shift) | {"gamma": self.gamma(part)}
        if not part.decomposed:
            return self.net.bn(x, part.channels, names=[self.net.value(array) for array in values.values()])
        gamma, beta, mean, deviation = (self.net.value(array.reshape(-1, 1, 1)) for array in values.values())
        y = self.net.op("Div", self.net.op("Sub", x, mean), deviation)
        return str(self.net.op("Add", self.net.op("Mul", y, gamma), beta))

    def across(self, part: Part) -> str:
        """A constant along the channels."""
        return self.net.value(self.net.normal(*part.shape[:1], *[1] * (len(part.shape) - 1)))

    def scale(self, part: Part, x: str) -> str:
        return str(self.net.op("Mul", x, self.across(part)))

    def shift(self, part: Part, x: str) -> str:
        return str(self.net.op("Add", x, self.across(part)))

    def number(self, part: Part, x: str) -> str:
        kind, value = ("Mul", 0.7) if part.form == "times" else ("Add", 0.4)
        return str(self.net.op(kind, x, self.net.value(np.asarray(value))))

    def instance(self, part: Part, x: str) -> str:
        values = [self.net.value(self.net.normal(part.channels)) for _ in range(2)]
        return str(self.net.op("InstanceNormalization", x, *values))
