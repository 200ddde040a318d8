"""Small computations written down op by op, with real weights, for tests of planning that need no framework."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normdiag.graph.eval_norm import eval_affine
from normdiag.graph.sizes import product
from normdiag.records import (
    Add,
    Concat,
    Constant,
    Conv,
    Linear,
    Norm,
    NormLayer,
    Op,
    Opaque,
    OpGraph,
    Parameter,
    Pass,
    Reshape,
    ScaleShift,
    Size,
    Split,
    Take,
    Transpose,
    Window,
)

Shape = tuple[int, ...]


def parameter(name: str, values: Any, **facts: Any) -> Parameter:
    array = np.asarray(values)
    return Parameter(name, array.shape, str(array.dtype), lambda: array, **facts)


class GraphNet:
    """Adds ops one after the other; each method takes tensor names and returns the new tensor's.

    The first axis of every tensor is a free batch size, 2 when it is run. `dynamic` makes positions free as well.
    Strides are 1; padding keeps the size.
    """

    def __init__(self, *shape: int, seed: int = 0, dynamic: bool = False) -> None:
        self.random = np.random.default_rng(seed)
        self.dynamic = dynamic
        self.ops: list[Op] = []
        self.shapes: dict[str, Shape] = {}
        self.sizes: dict[str, tuple[Size, ...]] = {}
        self.inputs: list[str] = []
        self.numbers = itertools.count()
        if shape:
            self.x = self.input(*shape)

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}" if self.inputs else "x"
        self.inputs.append(name)
        self._tensor(name, (2, *shape), None)
        return name

    def graph(self, *outputs: str, **facts: Any) -> OpGraph:
        return OpGraph(tuple(self.ops), tuple(self.inputs), outputs, self.sizes, **facts)

    def values(self, *shape: int) -> Any:
        return self.random.normal(size=shape)

    def _tensor(self, name: str, shape: Shape, like: str | None, channel: int | None = 1) -> None:
        """Sizes: the batch is free; positions are in a dynamic net, and keep their symbol where their size stays."""
        self.shapes[name] = shape
        old = self.sizes.get(like or "", ())
        sizes = [Size(1, ("n",)), *(Size(each) for each in shape[1:])]
        for axis in range(1, len(shape)):
            if self.dynamic and axis != channel:
                kept = len(old) == len(shape) and self.shapes[like or ""][axis] == shape[axis] and old[axis].symbols
                sizes[axis] = old[axis] if kept else Size(1, (f"{name}.{axis}",))
        self.sizes[name] = tuple(sizes)

    def _op(self, kind: Any, operator: str, inputs: Sequence[str], shape: Shape, detail: Any, name: str | None) -> str:
        name = name or f"{operator.lower()}{next(self.numbers)}"
        out = f"{name}_out"
        self._tensor(out, shape, inputs[0] if inputs else None)
        self.ops.append(Op(name, kind, operator, tuple(inputs), (out,), detail))
        return out

    def conv(
        self,
        x: str,
        out: int,
        *,
        kernel: int = 3,
        groups: int = 1,
        padded: bool = False,
        transposed: bool = False,
        bias: bool = True,
        weight: Parameter | None = None,
        name: str | None = None,
    ) -> str:
        n, channels, *positions = self.shapes[x]
        window = (kernel,) * len(positions)
        shape = (channels, out // groups, *window) if transposed else (out, channels // groups, *window)
        grown = 0 if padded else (kernel - 1) * (1 if transposed else -1)
        name = name or f"conv{next(self.numbers)}"
        detail = Conv(
            weight or parameter(f"{name}.weight", self.values(*shape)),
            parameter(f"{name}.bias", self.values(out)) if bias else None,
            groups,
            transposed,
            padded,
        )
        kind = "conv_transpose" if transposed else "conv"
        operator = "ConvTranspose" if transposed else "Conv"
        return self._op(kind, operator, [x], (n, out, *(size + grown for size in positions)), detail, name)

    def linear(
        self,
        x: str,
        out: int,
        *,
        axis: int = -1,
        upright: bool = False,
        transposed: bool = False,
        bias: Shape | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
        name: str | None = None,
    ) -> str:
        """`upright`: the weight is (out, in); `transposed`: the input is, first; `bias` the shape of it."""
        shape = list(self.shapes[x])
        if transposed:
            shape[-2:] = shape[:-3:-1]
        channels, shape[axis] = shape[axis], out
        out_axis = -2 if upright else -1
        weight = self.values(*((out, channels) if upright else (channels, out)))
        name = name or f"linear{next(self.numbers)}"
        detail = Linear(
            parameter(f"{name}.weight", weight),
            None if bias is None else parameter(f"{name}.bias", self.values(*bias)),
            out_axis,
            -3 - out_axis,
            axis,
            alpha,
            beta,
            -3 - axis if transposed else None,
        )
        return self._op("linear", "Gemm", [x], tuple(shape), detail, name)

    def norm(
        self, x: str, *, gamma: Any = None, beta: Any = None, mean: Any = None, name: str | None = None, **facts: Any
    ) -> str:
        """A BatchNorm along axis 1."""
        channels = self.shapes[x][1]
        name = name or f"bn{next(self.numbers)}"
        gamma = self.values(channels) if gamma is None else np.broadcast_to(np.asarray(gamma, float), (channels,))
        beta = self.values(channels) if beta is None else np.broadcast_to(np.asarray(beta, float), (channels,))
        mean = self.values(channels) if mean is None else np.broadcast_to(np.asarray(mean, float), (channels,))
        layer = NormLayer(
            name,
            "batch_norm",
            "module",
            channels,
            eps=1e-3,
            gamma=gamma,
            beta=beta,
            running_mean=mean,
            running_var=self.random.uniform(0.2, 3, channels),
        )
        found = eval_affine(layer)
        assert not isinstance(found, str)
        given = {"gamma": parameter(f"{name}.weight", gamma), "beta": parameter(f"{name}.bias", beta), **facts}
        if "obstacle" not in facts:
            given = {"scale": found[0], "shift": found[1], **given}
        return self._op("norm", "BatchNormalization", [x], self.shapes[x], Norm(layer, **given), name)

    def layer_norm(
        self,
        x: str,
        *,
        rank: int = 1,
        kind: Any = "layer_norm",
        gamma: Any = None,
        beta: bool = True,
        name: str | None = None,
    ) -> str:
        name = name or f"ln{next(self.numbers)}"
        shape = self.shapes[x][-rank:]
        layer = NormLayer(name, kind, "module", shape[-1], eps=1e-3, normalized_rank=rank)
        detail = Norm(
            layer,
            -1,
            parameter(f"{name}.weight", self.values(*shape) if gamma is None else gamma),
            parameter(f"{name}.bias", self.values(*shape)) if beta else None,
        )
        return self._op("norm", "LayerNormalization", [x], self.shapes[x], detail, name)

    def scale_shift(
        self,
        x: str,
        *,
        scale: Any = None,
        shift: Any = None,
        axis: int = 1,
        layer: bool = False,
        name: str | None = None,
        **facts: Any,
    ) -> str:
        shape = [1] * len(self.shapes[x])
        shape[axis] = self.shapes[x][axis]
        scale = self.values(*shape) if scale is None else np.asarray(scale, float).reshape(shape)
        shift = self.values(*shape) if shift is None else np.asarray(shift, float).reshape(shape)
        name = name or f"mul{next(self.numbers)}"
        norm = NormLayer(name, "batch_norm", "decomposed", scale.size) if layer else None
        return self._op("scale_shift", "Mul", [x], self.shapes[x], ScaleShift(scale, shift, norm, **facts), name)

    def through(self, x: str, operator: str = "Identity", name: str | None = None) -> str:
        return self._op("identity", operator, [x], self.shapes[x], Pass(), name)

    def relu(self, x: str, name: str | None = None) -> str:
        return self._op("activation", "Relu", [x], self.shapes[x], Opaque("a nonlinearity"), name)

    def pool(self, x: str, operator: str, name: str | None = None) -> str:
        """MaxPool, AveragePool (2 wide), PaddedPool (3 wide, zeros count), GlobalAveragePool, ReduceMean."""
        shape = self.shapes[x]
        axes = tuple(range(2, len(shape)))
        keep = {"PaddedPool": 0, "MaxPool": -1, "AveragePool": -1}
        after = {"GlobalAveragePool": (*shape[:2], *(1 for _ in axes)), "ReduceMean": shape[:2]}
        new = after.get(operator) or (*shape[:2], *(size + keep[operator] for size in shape[2:]))
        detail = Window(
            axes,
            "non_negative" if operator == "MaxPool" else "any",
            operator != "PaddedPool",
            operator == "ReduceMean",
        )
        return self._op("pool", operator, [x], new, detail, name)

    def resize(self, x: str, name: str | None = None) -> str:
        """Twice as wide, nearest."""
        n, c, *positions = self.shapes[x]
        detail = Window(tuple(range(2, 2 + len(positions))))
        return self._op("resize", "Resize", [x], (n, c, *(2 * size for size in positions)), detail, name)

    def pad(self, x: str, name: str | None = None) -> str:
        """One zero on every side."""
        n, c, *positions = self.shapes[x]
        detail = Window(tuple(range(2, 2 + len(positions))), shift=False)
        return self._op("pad", "Pad", [x], (n, c, *(2 + size for size in positions)), detail, name)

    def transpose(self, x: str, *perm: int, name: str | None = None) -> str:
        old = self.shapes[x]
        out = self._op("transpose", "Transpose", [x], tuple(old[i] for i in perm), Transpose(perm), name)
        self.sizes[out] = tuple(self.sizes[x][i] for i in perm)
        return out

    def reshape(self, x: str, shape: Shape, sizes: Sequence[Size] | None = None, name: str | None = None) -> str:
        """To `shape` without the batch axis; where sizes are free, `sizes` says what is known of all."""
        out = self._op("reshape", "Reshape", [x], (2, *shape), Reshape(), name)
        self.sizes[out] = tuple(sizes) if sizes else (Size(1, ("n",)), *map(Size, shape))
        return out

    def flatten(self, x: str, name: str | None = None) -> str:
        count = int(np.prod(self.shapes[x][1:]))
        return self.reshape(x, (count,), (Size(1, ("n",)), product(self.sizes[x][1:])), name)

    def concat(self, *xs: str, axis: int = 1, name: str | None = None) -> str:
        shape = list(self.shapes[xs[0]])
        shape[axis] = sum(self.shapes[x][axis] for x in xs)
        return self._op("concat", "Concat", xs, tuple(shape), Concat(axis), name)

    def split(self, x: str, *parts: int, axis: int = 1, name: str | None = None) -> list[str]:
        name = name or f"split{next(self.numbers)}"
        outs = [f"{name}_out{i}" for i in range(len(parts))]
        for out, part in zip(outs, parts, strict=True):
            shape = list(self.shapes[x])
            shape[axis] = part
            self._tensor(out, tuple(shape), x)
        self.ops.append(Op(name, "split", "Split", (x,), tuple(outs), Split(axis, parts)))
        return outs

    def take(self, x: str, *picks: Sequence[int], axis: int = 1, removed: bool = False) -> list[str]:
        name = f"take{next(self.numbers)}"
        outs = [f"{name}_out{i}" for i in range(len(picks))]
        for out, chosen in zip(outs, picks, strict=True):
            shape = list(self.shapes[x])
            shape[axis : axis + 1] = [] if removed else [len(chosen)]
            self._tensor(out, tuple(shape), x)
        self.ops.append(Op(name, "other", "Gather", (x,), tuple(outs), Take(axis, picks, removed)))
        return outs

    def add(self, *xs: str, signs: tuple[int, ...] | None = None, name: str | None = None) -> str:
        shape = np.broadcast_shapes(*(self.shapes[x] for x in xs))
        widest = max(xs, key=lambda x: (len(self.shapes[x]), self.shapes[x]))
        out = self._op("add", "Add", xs, shape, Add(signs or (1,) * len(xs)), name)
        if shape == self.shapes[widest]:
            self.sizes[out] = self.sizes[widest]
        return out

    def constant(self, *shape: int, name: str | None = None) -> str:
        name = name or f"constant{next(self.numbers)}"
        out = self._op(
            "constant", "Constant", [], shape, Constant(parameter(f"{name}.value", self.values(*shape))), name
        )
        self.sizes[out] = tuple(map(Size, shape))
        return out


def feeds(net: GraphNet, seed: int = 1) -> Mapping[str, Any]:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=net.shapes[name]) for name in net.inputs}
