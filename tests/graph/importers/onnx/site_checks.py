"""What a site of a model should compute, in float64 and without the code under test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from normdiag.graph.importers.onnx import with_layers
from normdiag.models.onnx import ActivationSite, NormSite, OnnxProgram, load_onnx
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import values_of

Array = NDArray[Any]


def load_text(folder: Path, text: str, opset: int = 17, domains: tuple[str, ...] = (), **arrays: Array) -> OnnxProgram:
    """The program of such a model."""
    return load_model(folder, from_text(text, opset, domains, **arrays))


def load_model(folder: Path, model: onnx.ModelProto) -> OnnxProgram:
    """The program of a model, by way of a file."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return load_program(path)


def load_program(path: Path) -> OnnxProgram:
    """The program in a file, with its layers."""
    return with_layers(load_onnx(path))


def run(program: OnnxProgram, feeds: Mapping[str, Array], tensors: set[str]) -> dict[str, Array]:
    """The values of any tensors of the main graph, and what is fed."""
    model = onnx.ModelProto()
    model.CopyFrom(program.proto)
    for tensor in model.graph.initializer:
        program.reader.complete(tensor)
    return {**feeds, **values_of(model, tensors, feeds, program.folder)}


def check_sites(program: OnnxProgram, feeds: Mapping[str, Array], tolerance: float = 1e-4) -> None:
    """Every site computes, between its input and its output, what its layer or kind says."""
    sites = [site for site in program.sites if site.where == "graph"]
    activations = [site for site in program.activations if site.where == "graph"]
    wanted = {name for site in sites for name in (site.input, site.output, *site.addends)}
    wanted |= {name for site in activations for name in (site.input, site.output)}
    found = run(program, feeds, wanted)
    for site in sites:
        x = sum((found[name].astype(np.float64) for name in site.addends), np.zeros(()))
        x = x if site.addends else found[site.input].astype(np.float64)
        np.testing.assert_allclose(found[site.output], normalized(site, x), tolerance, tolerance, err_msg=str(site))
    for site in activations:
        expected = activated(site, found[site.input].astype(np.float64))
        np.testing.assert_allclose(found[site.output], expected, tolerance, tolerance, err_msg=str(site))


def normalized(site: NormSite, x: Array) -> Array:
    """The output of a normalization layer in float64."""
    layer, rank = site.layer, x.ndim
    axis = site.channel_axis % rank
    if layer.kind == "group_norm":
        moved = np.moveaxis(x, axis, 1)
        grouped = moved.reshape(len(x), layer.groups, -1)
        y = np.moveaxis(_standardized(grouped, (2,), layer.eps, True).reshape(moved.shape), 1, axis)
    elif layer.kind == "batch_norm" and layer.has_statistics and not layer.training:
        y = (x - _along(layer.running_mean, (axis,), rank)) / np.sqrt(
            _along(layer.running_var, (axis,), rank) + layer.eps
        )
    else:
        axes = tuple(a for a in range(rank) if a != axis) if layer.kind == "batch_norm" else site.axes
        y = _standardized(x, axes, layer.eps, layer.kind != "rms_norm")
    axes = site.axes if layer.kind in ("layer_norm", "rms_norm") else (axis,)
    gamma = 1.0 if layer.gamma is None else _along(layer.gamma, axes, rank)
    return y * gamma + (0.0 if layer.beta is None else _along(layer.beta, axes, rank))


def _standardized(x: Array, axes: tuple[int, ...], eps: float, centered: bool) -> Array:
    centre = x.mean(axes, keepdims=True) if centered else 0.0
    return (x - centre) / np.sqrt(((x - centre) ** 2).mean(axes, keepdims=True) + eps)


def _along(parameter: Array, axes: tuple[int, ...], rank: int) -> Array:
    shape = [1] * rank
    for axis, size in zip(axes, parameter.shape, strict=True):
        shape[axis] = size
    return parameter.astype(np.float64).reshape(shape)


def activated(site: ActivationSite, x: Array) -> Array:
    """The output of an activation in float64."""
    f = site.function
    sigmoid = 0.5 * (1 + np.tanh(x / 2))
    softplus = np.logaddexp(0, x)
    exponential = np.expm1(np.minimum(x, 0))
    erf = np.vectorize(math.erf)
    functions = {
        "sigmoid": lambda: sigmoid,
        "tanh": lambda: np.tanh(x),
        "hard_sigmoid": lambda: np.clip(f.alpha * x + f.beta, 0, 1),
        "relu": lambda: np.maximum(x, 0),
        "leaky_relu": lambda: np.where(x > 0, x, f.alpha * x),
        "relu6": lambda: np.clip(x, 0, 6),
        "clip": lambda: np.clip(x, f.low, f.high),
        "elu": lambda: np.where(x > 0, x, f.alpha * exponential),
        "selu": lambda: f.beta * np.where(x > 0, x, f.alpha * exponential),
        "gelu": lambda: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "gelu_tanh": lambda: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": lambda: x * 0.5 * (1 + np.tanh(f.alpha * x / 2)),
        "hard_swish": lambda: x * np.clip(x / 6 + 0.5, 0, 1),
        "mish": lambda: x * np.tanh(softplus),
        "softplus": lambda: softplus,
    }
    return np.asarray(functions[f.kind]())
