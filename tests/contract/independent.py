"""The same numbers by another road: whole activations in float64, statistics by numpy, nothing of normdiag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class Independent:
    """Per-layer drift as deployed and own, the gap of a (N, K) output, and the activations' inputs."""

    deployed: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    own: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    relative_rms: float = 0.0
    disagreement: float = 0.0
    divergence: float = 0.0
    top1: np.ndarray = field(default_factory=lambda: np.zeros(0))


def measure(module: nn.Module, x: np.ndarray, batch_size: int) -> Independent:
    """Run a copy of the module in float64, once as deployed, once with batch statistics written out by hand."""
    module = module.double().eval()
    data = torch.from_numpy(x).double()
    result = Independent()
    inputs, outputs = _run(module, data, batch_size, _stored)
    result.deployed = {name: _drift(module.get_submodule(name), values) for name, values in inputs.items()}
    inputs, changed = _run(module, data, batch_size, _batch)
    result.own = {name: _drift(module.get_submodule(name), values) for name, values in inputs.items()}
    result.relative_rms = float(np.sqrt(((changed - outputs) ** 2).sum() / (outputs**2).sum()))
    result.disagreement = float((changed.argmax(1) != outputs.argmax(1)).mean())
    result.divergence = _jensen_shannon(outputs, changed)
    result.top1 = outputs.argmax(1)
    return result


Normalize = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def _stored(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps
    )


def _batch(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    mean, var = x.mean(axes), x.var(axes, unbiased=False)
    normalized = (x - mean.view(shape)) / torch.sqrt(var + layer.eps).view(shape)
    return normalized * layer.weight.view(shape) + layer.bias.view(shape)


def _run(
    module: nn.Module, data: torch.Tensor, batch_size: int, normalize: Normalize
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    seen: dict[str, list[np.ndarray]] = {}
    saved = []
    for name, layer in module.named_modules():
        if isinstance(layer, BATCH_NORMS):

            def forward(x: torch.Tensor, layer: nn.Module = layer, name: str = name) -> torch.Tensor:
                seen.setdefault(name, []).append(x.numpy().copy())
                return normalize(layer, x)

            saved.append(layer)
            layer.forward = forward
    with torch.no_grad():
        outputs = np.concatenate([module(part).numpy() for part in data.split(batch_size)])
    for layer in saved:
        del layer.forward
    return {name: np.concatenate(parts) for name, parts in seen.items()}, outputs


def _drift(layer: nn.Module, x: np.ndarray) -> dict[str, np.ndarray]:
    x = x.reshape(x.shape[0], x.shape[1], -1)
    s = np.sqrt(layer.running_var.numpy() + layer.eps)
    z = (x.mean((0, 2)) - layer.running_mean.numpy()) / s
    r = np.sqrt(x.var((0, 2)) + layer.eps) / s
    d = np.hypot(z, r - 1)
    return {"z": z, "r": r, "d": d, "rms": np.sqrt((d**2).mean())}


def _jensen_shannon(a: np.ndarray, b: np.ndarray) -> float:
    def softmax(rows: np.ndarray) -> np.ndarray:
        odds = np.exp(rows - rows.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True))

    p, q = softmax(a), softmax(b)
    m = (p + q) / 2
    return float((((p * np.log(p / m)).sum(1) + (q * np.log(q / m)).sum(1)) / 2).mean())
