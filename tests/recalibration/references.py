"""Population statistics by another road: whole activations, in float64, nothing of normdiag."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Pair = tuple[np.ndarray, np.ndarray]


def population(
    net: nn.Module, batches: Sequence[Any], call: Callable[[nn.Module, Any], object] | None = None
) -> dict[str, Pair]:
    """Mean and unbiased variance of each BatchNorm's input over all samples, each batch normalized by itself upstream.

    A double-precision copy runs in training mode; samples count alike, however many positions they have.
    """
    net = copy.deepcopy(net).double()
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.momentum = 0.0
            module.register_forward_pre_hook(lambda _, given, name=name: inputs[name].append(given[0].detach()))
        elif not isinstance(module, nn.Sequential) and module is not net:
            module.eval()
    with torch.no_grad():
        for batch in batches:
            (call or (lambda module, x: module(x.double())))(net, batch)
    return {name: _of(found) for name, found in inputs.items()}


def _of(inputs: list[Tensor]) -> Pair:
    per_sample = [x.reshape(len(x), x.shape[1], -1) for x in inputs]
    mean = torch.cat([x.mean(2) for x in per_sample]).mean(0)
    square = torch.cat([((x - mean[:, None]) ** 2).mean(2) for x in per_sample]).mean(0)
    count = sum(x.shape[0] * x.shape[2] for x in per_sample)
    return mean.numpy(), (square * count / (count - 1)).numpy()


def largest_error(found: Pair, expected: Pair) -> float:
    """Of the mean in standard deviations, and of the variance relative to itself."""
    mean = np.abs(found[0] - expected[0]) / np.sqrt(expected[1])
    return float(max(mean.max(), np.abs(found[1] / expected[1] - 1.0).max()))
