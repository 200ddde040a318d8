"""What the tests of the PyTorch runner share: observing a module, and the same by plain hooks and float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from normdiag.models.pytorch import module_layers
from normdiag.observe.pytorch import TorchRunner
from normdiag.ops import Activation, derivative, tails
from normdiag.records import ActivationSums, Batch, ChannelSums, Evidence, Model, ModelInfo

STATISTICS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def runner(module: nn.Module) -> TorchRunner:
    info = ModelInfo(None, "module", "pytorch", None, None, None)
    return TorchRunner(Model(info, module_layers(module), program=module))


def observe(module: nn.Module, *arrays: np.ndarray, names: tuple[str, ...] | None = None) -> Evidence:
    return runner(module).observe(Batch(arrays, names))


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and running statistics, none of them at its default; eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if getattr(layer, "running_mean", None) is not None:
            layer.running_mean.normal_(0.0, 0.5, generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
            if layer.weight is not None:
                layer.weight.data.uniform_(0.5, 1.5, generator=generator)
                layer.bias.data.normal_(0.0, 0.3, generator=generator)
    return module.eval()


def inputs_of(module: nn.Module, x: np.ndarray, which: Callable[[nn.Module], bool]) -> dict[str, list[np.ndarray]]:
    """The inputs of every call of the chosen modules, by plain hooks, in float64."""
    seen: dict[str, list[np.ndarray]] = {}
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, []).append(args[0].double().numpy())
        )
        for name, layer in module.named_modules()
        if which(layer)
    ]
    with torch.no_grad():
        module(torch.from_numpy(x.copy()).to(next(module.parameters()).dtype))
    for handle in handles:
        handle.remove()
    return seen


def with_batch_statistics(module: nn.Module) -> nn.Module:
    """A copy whose BatchNorm layers are in training mode without momentum, the rest in eval mode."""
    other = copy.deepcopy(module).eval()
    for layer in other.modules():
        if isinstance(layer, STATISTICS):
            layer.train()
            layer.momentum = 0.0
    return other


def drift(sums: ChannelSums, var: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """z and r from the five sums."""
    s = np.sqrt(var + eps)
    mean, second = sums.m / sums.count, sums.q / sums.count
    return mean / s, np.sqrt(second - mean**2 + eps) / s


def drift_of_values(x: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """z and r from the full input (N, C, ...) in float64."""
    x = x.reshape(x.shape[0], x.shape[1], -1).astype(np.float64)
    s = np.sqrt(var + eps)
    return (x.mean((0, 2)) - mean) / s, np.sqrt(x.var((0, 2)) + eps) / s


def check_drift(sums: ChannelSums, x: np.ndarray, layer: nn.Module, rtol: float = 1e-5) -> None:
    mean, var = layer.running_mean.double().numpy(), layer.running_var.double().numpy()
    z, r = drift(sums, var, layer.eps)
    expected_z, expected_r = drift_of_values(x, mean, var, layer.eps)
    np.testing.assert_allclose(r, expected_r, rtol=rtol)
    np.testing.assert_allclose(z, expected_z, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(np.hypot(z, r - 1), np.hypot(expected_z, expected_r - 1), rtol=rtol, atol=rtol / 10)


def check_activation(sums: ActivationSums, activation: Activation, x: np.ndarray, axis: int = 1) -> None:
    """Counts exactly, derivatives to 1e-5, against the full input."""
    values = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64)
    edges = tails(activation)
    if edges.closed:
        outside = (values <= edges.lower) | (values >= edges.upper)
    else:
        outside = (values < edges.lower) | (values > edges.upper)
    assert sums.kind == activation.kind
    assert sums.elements == values.shape[1]
    np.testing.assert_array_equal(sums.saturated, outside.sum(1))
    np.testing.assert_allclose(sums.derivative_square, (derivative(activation, values) ** 2).sum(), rtol=1e-5)


def bits(module: nn.Module) -> dict[str, bytes]:
    """Everything that must not change: parameters, buffers and training flags, byte for byte."""
    state = {
        name: value.detach().clone().view(-1).view(torch.uint8).numpy().tobytes()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }
    flags = {f"{name}.training": bytes([layer.training]) for name, layer in module.named_modules()}
    return state | flags
