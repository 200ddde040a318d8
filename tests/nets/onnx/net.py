"""Building small ONNX graphs: one builder, any element type, any operator set, seeded random parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.nets.onnx.nodes import TYPES, Array

NUMPY = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class OnnxNet:
    """A graph in the making. Methods return the name of the tensor that they add."""

    def __init__(self, dtype: str = "float32", opset: int = 17, seed: int = 0) -> None:
        self.dtype, self.opset, self.ir = dtype, opset, 8 if opset < 21 else 10
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: dict[str, Array] = {}
        self.domains: dict[str, int] = {"": opset}
        self.count = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def input(self, *shape: int | str, name: str = "x", dtype: str | None = None) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], shape))
        return name

    def output(self, *names: str, dtype: str | None = None, shape: Sequence[int | str] | None = None) -> None:
        kind = TYPES[dtype or self.dtype]
        self.outputs.extend(helper.make_tensor_value_info(name, kind, shape) for name in names)

    def value(self, array: Any, name: str | None = None, dtype: str | None = None) -> str:
        """An initializer in the element type of the net; integers stay what they are."""
        array = np.asarray(array)
        if array.dtype.kind == "f":
            array = array.astype(NUMPY[dtype or self.dtype])
        name = name or self.fresh("value")
        self.constants[name] = array
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return self.random.normal(0, scale, shape)

    def op(self, kind: str, *inputs: str, outputs: int | Sequence[str] = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node; the name of its output, or a list where it has several."""
        name = self.fresh(kind)
        names = [f"{name}_out{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **given))
        return names[0] if len(names) == 1 else names

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int | Sequence[int] = 3,
        *,
        rank: int = 2,
        groups: int = 1,
        bias: bool = True,
        transposed: bool = False,
        weight: str | None = None,
        **attributes: Any,
    ) -> str:
        window = [kernel] * rank if isinstance(kernel, int) else list(kernel)
        shape = (inputs, outputs // groups, *window) if transposed else (outputs, inputs // groups, *window)
        fan = np.prod(shape[1:])
        weight = weight or self.value(self.normal(*shape, scale=fan**-0.5), self.fresh("weight"))
        names = [x, weight, *([self.value(self.normal(outputs), self.fresh("bias"))] if bias else [])]
        kind = "ConvTranspose" if transposed else "Conv"
        return str(self.op(kind, *names, kernel_shape=window, group=groups, **attributes))

    def bn_values(self, channels: int, sign: float | None = None, shift: bool = True) -> dict[str, Array]:
        """gamma (one zero, one negative and one positive at least, or all of one sign), beta, mean and variance."""
        gamma = self.normal(channels) + 0.5
        gamma[:3] = [-0.7, 0.0, 1.3][:channels]
        if sign is not None:
            gamma = sign * self.random.uniform(0.3, 2, channels)
        zero = np.zeros(channels)
        beta, mean = (self.normal(channels), self.normal(channels)) if shift else (zero, zero)
        return {"gamma": gamma, "beta": beta, "mean": mean, "var": self.random.uniform(0.2, 3, channels)}

    def bn(
        self,
        x: str,
        channels: int,
        *,
        sign: float | None = None,
        shift: bool = True,
        names: Sequence[str] | None = None,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        prefix = self.fresh("bn")
        if names is None:
            values = self.bn_values(channels, sign, shift)
            names = [self.value(array, f"{prefix}.{key}") for key, array in values.items()]
        epsilon = attributes.pop("epsilon", float(self.random.choice([2.0**-17, 2.0**-10, 0.125])))
        out = output or f"{prefix}_out"
        return str(self.op("BatchNormalization", x, *names, outputs=[out], epsilon=epsilon, **attributes))

    def constant(self, array: Any) -> str:
        """A Constant node."""
        array = np.asarray(array)
        array = array.astype(NUMPY[self.dtype]) if array.dtype.kind == "f" else array
        return str(self.op("Constant", value=numpy_helper.from_array(array)))

    # Operators whose axes moved from an attribute to an input over the years.

    def _axes(self, kind: str, x: str, axes: Sequence[int], since: int, **attributes: Any) -> str:
        if self.opset < since:
            return str(self.op(kind, x, axes=list(axes), **attributes))
        return str(self.op(kind, x, self.value(np.array(axes, np.int64)), **attributes))

    def squeeze(self, x: str, *axes: int) -> str:
        return self._axes("Squeeze", x, axes, 13)

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self._axes("Unsqueeze", x, axes, 13)

    def mean(self, x: str, *axes: int, keepdims: int = 1) -> str:
        return self._axes("ReduceMean", x, axes, 18, keepdims=keepdims)

    def reshape(self, x: str, *shape: int) -> str:
        return str(self.op("Reshape", x, self.value(np.array(shape, np.int64))))

    def split(self, x: str, *parts: int, axis: int = 1) -> list[str]:
        if self.opset < 13:
            return list(self.op("Split", x, outputs=len(parts), axis=axis, split=list(parts)))
        return list(self.op("Split", x, self.value(np.array(parts, np.int64)), outputs=len(parts), axis=axis))

    def dropout(self, x: str) -> str:
        if self.opset < 12:
            return str(self.op("Dropout", x, ratio=0.4))
        return str(self.op("Dropout", x, self.value(np.float32(0.4), dtype="float32")))

    def resize(self, x: str, *scales: float, mode: str = "nearest", **attributes: Any) -> str:
        factors = self.value(np.array(scales, np.float32), dtype="float32")
        if self.opset < 10:
            return str(self.op("Upsample", x, factors, mode=mode))
        if self.opset < 11:
            return str(self.op("Resize", x, factors, mode=mode))
        roi = "" if self.opset >= 13 else self.value(np.zeros(2 * len(scales), np.float32), dtype="float32")
        return str(self.op("Resize", x, roi, factors, mode=mode, **attributes))

    def pad(self, x: str, *pads: int, mode: str = "constant") -> str:
        if self.opset < 11:
            return str(self.op("Pad", x, pads=list(pads), mode=mode))
        return str(self.op("Pad", x, self.value(np.array(pads, np.int64)), mode=mode))

    def model(self, functions: Sequence[onnx.FunctionProto] = ()) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "zoo", self.inputs, self.outputs, tensors)
        imports = [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        model = helper.make_model(graph, opset_imports=imports, ir_version=self.ir, functions=functions)
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
        for value in model.graph.output:  # the checker asks for the shapes of outputs
            if not value.type.tensor_type.HasField("shape"):
                value.CopyFrom(inferred[value.name])
        return model
