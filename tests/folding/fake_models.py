"""A backend in numpy: chains of linear layer, BatchNorm and activation, folded right or in a way that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.folding.backend import Evaluator, FoldPoint
from normdiag.records import (
    Batch,
    FoldPlan,
    FoldStep,
    InputSpec,
    Linear,
    ModelInfo,
    Norm,
    NormLayer,
    Op,
    Opaque,
    OpGraph,
    Parameter,
)

Array = Any
EPS = 1e-5
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "none": lambda x: x,
}


@dataclass(frozen=True, eq=False)
class Layer:
    """weight (out, in), the others (out,), all in the dtype of the model."""

    weight: Array
    bias: Array
    gamma: Array
    beta: Array
    mean: Array
    var: Array
    activation: str = "relu"
    eps: float = EPS

    def affine(self) -> tuple[Array, Array]:
        gamma, beta, mean, var = (x.astype(np.float64) for x in (self.gamma, self.beta, self.mean, self.var))
        scale = gamma / np.sqrt(var + self.eps)
        return scale, beta - scale * mean


@dataclass(frozen=True, eq=False)
class Runner:
    """Runs the layers in `dtype`: plainly, or with weights in which the norms are folded already."""

    layers: tuple[Layer, ...]
    dtype: Any
    tensors: tuple[str, ...] = ()
    folded: tuple[tuple[Array, Array], ...] | None = None
    head: Callable[[Array], Array] = lambda x: x
    limit: int | None = None
    log: list[str] = field(default_factory=list)

    def run(self, batch: Batch) -> Mapping[str, Array]:
        x = batch.arrays[0]
        if x.ndim != 2 or x.shape[1] != self.layers[0].weight.shape[1]:
            raise InputError(f"takes (N, {self.layers[0].weight.shape[1]}), the data has {x.shape}")
        if self.limit is not None and len(x) != self.limit:
            raise InputError(f"takes {self.limit} samples")
        self.log.append(f"run {len(x)}")
        with np.errstate(all="ignore"):
            return self._forward(x.astype(self.dtype))

    def _forward(self, x: Array) -> Mapping[str, Array]:
        seen = {}
        for index, layer in enumerate(self.layers):
            if self.folded is None:
                cast = [v.astype(self.dtype) for v in (layer.gamma, layer.beta, layer.mean, layer.var)]
                z = _product(x, layer.weight.astype(self.dtype)) + layer.bias.astype(self.dtype)
                y = (z - cast[2]) * (cast[0] / np.sqrt(cast[3] + np.asarray(layer.eps, self.dtype))) + cast[1]
            else:
                weight, bias = self.folded[index]
                y = _product(x, weight) + bias
            seen[f"y{index}"] = y
            x = ACTIVATIONS[layer.activation](y.astype(np.float32) if y.dtype.itemsize == 2 else y).astype(self.dtype)
        return {"out": self.head(x)} | {name: seen[name] for name in self.tensors}


def _product(x: Array, weight: Array) -> Array:
    if x.dtype.itemsize == 2:  # as runtimes do: products are summed in float32
        return (x.astype(np.float32) @ weight.astype(np.float32).T).astype(x.dtype)
    return x @ weight.T


@dataclass(frozen=True, eq=False)
class FakeFolded:
    layers: tuple[Layer, ...]
    weights: tuple[tuple[Array, Array], ...]
    net: FakeModel
    points: tuple[FoldPoint, ...]
    size_bytes: int = 0
    how: str = ""

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        self.net.log.append("folded")
        return Runner(self.layers, self.net.dtype, tuple(tensors), self.weights, self.net.head, self.net.limit)

    def write(self, target: Path) -> tuple[str, ...]:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class FakeModel:
    """`limit` is a fixed batch size, `head` is put after the last layer."""

    layers: tuple[Layer, ...]
    dtype: Any = np.float32
    head: Callable[[Array], Array] = lambda x: x
    limit: int | None = None
    runs_in_float64: bool = True
    size_bytes: int = 1000
    log: list[str] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(None, "fake", "onnx", None, None, None)

    @property
    def sha256(self) -> None:
        return None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        return (InputSpec("x", np.dtype(self.dtype).name, (self.limit, self.layers[0].weight.shape[1])),)

    @cached_property
    def graph(self) -> OpGraph:
        ops: list[Op] = []
        before = "x"
        for index, layer in enumerate(self.layers):
            weight = Parameter(f"w{index}", layer.weight.shape, np.dtype(self.dtype).name, lambda w=layer.weight: w)
            scale, shift = layer.affine()
            norm = Norm(NormLayer(f"bn{index}", "batch_norm", "module"), scale=scale, shift=shift)
            detail = Linear(weight, out_axis=-2, in_axis=-1)
            ops += [
                Op(f"fc{index}", "linear", "Linear", (before,), (f"z{index}",), detail),
                Op(f"bn{index}", "norm", "BatchNorm", (f"z{index}",), (f"y{index}",), norm),
                Op(f"act{index}", "activation", "Act", (f"y{index}",), (f"a{index}",), Opaque("a nonlinearity")),
            ]
            before = f"a{index}"
        return OpGraph(tuple(ops), ("x",), ("out",), dtypes={"x": np.dtype(self.dtype).name})

    @property
    def plan(self) -> FoldPlan:
        names = range(len(self.layers))
        return FoldPlan(tuple(FoldStep(f"bn{i}", "batch_norm", "before", (f"fc{i}",)) for i in names))

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        self.log.append("original")
        return Runner(self.layers, self.dtype, tuple(tensors), None, self.head, self.limit, self.log)

    streams = False

    def exact(self, tensors: Sequence[str] = ()) -> Evaluator | str:
        if not self.runs_in_float64:
            return "it has an operator without a float64 kernel"
        return Runner(self.layers, np.float64, tuple(tensors), None, self.head, self.limit)

    def fold(self, plan: FoldPlan) -> FakeFolded:
        return folded(self, self.layers)


def folded(net: FakeModel, layers: Sequence[Layer]) -> FakeFolded:
    """Fold `layers`, which are those of the net, or wrong ones."""
    weights = []
    for layer in layers:
        scale, shift = layer.affine()
        weight = (scale[:, None] * layer.weight.astype(np.float64)).astype(net.dtype)
        weights.append((weight, (scale * layer.bias.astype(np.float64) + shift).astype(net.dtype)))
    points = tuple(FoldPoint(f"bn{i}", f"y{i}", f"y{i}") for i in range(len(layers)))
    return FakeFolded(tuple(layers), tuple(weights), net, points, net.size_bytes)


def random_model(
    seed: int, depth: int, widths: tuple[int, int] = (4, 64), dtype: Any = np.float32, **options: Any
) -> FakeModel:
    """A net whose statistics are those of its own data, up to a factor of two, with means up to a few deviations."""
    rng = np.random.default_rng(seed)
    width = [int(n) for n in rng.integers(widths[0], widths[1] + 1, depth + 1)]
    x = rng.standard_normal((300, width[0]))
    layers = []
    for index in range(depth):
        weight = (rng.standard_normal((width[index + 1], width[index])) / np.sqrt(width[index])).astype(dtype)
        bias = (rng.standard_normal(width[index + 1]) * 10.0 ** rng.uniform(-2, 0)).astype(dtype)
        z = x @ weight.T.astype(np.float64) + bias
        var = (z.var(0) * rng.uniform(0.5, 2, width[index + 1])).astype(dtype)
        gamma = (rng.standard_normal(width[index + 1]) + rng.integers(0, 2)).astype(dtype)
        beta = rng.standard_normal(width[index + 1]).astype(dtype)
        activation = str(rng.choice(list(ACTIVATIONS)))
        layer = Layer(
            weight, bias, gamma, beta, z.mean(0).astype(dtype), np.maximum(var, np.asarray(1e-7, dtype)), activation
        )
        scale, shift = layer.affine()
        x = ACTIVATIONS[activation](z * scale + shift)
        layers.append(layer)
    return FakeModel(tuple(layers), dtype, **options)


def planted(net: FakeModel, index: int, **changes: Any) -> FakeFolded:
    """The net folded with one layer that is wrong in the given fields."""
    layers = list(net.layers)
    layers[index] = replace(layers[index], **changes)
    return folded(net, layers)
