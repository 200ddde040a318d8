"""Norms that are no modules of torch, as well-known libraries write them. Their values are seeded, none a default."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FrozenBatchNorm2d(nn.Module):
    """As torchvision and detectron2 have it: buffers and arithmetic. With eps None as DETR has it: 1e-5 in the code."""

    def __init__(self, channels: int, eps: float | None = 1e-5) -> None:
        super().__init__()
        if eps is not None:
            self.eps = eps
        seeded = torch.Generator().manual_seed(channels)
        for name, low in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 0.5)):
            self.register_buffer(name, torch.rand(channels, generator=seeded) + low)

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.weight, self.bias, self.running_mean, self.running_var)
        weight, bias, mean, var = (each.reshape(1, -1, 1, 1) for each in parts)
        scale = weight * (var + getattr(self, "eps", 1e-5)).rsqrt()
        return x * scale + (bias - mean * scale)


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: a subclass that calls F.batch_norm and an activation."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        values = (self.running_mean, self.running_var, self.weight, self.bias)
        return self.act(functional.batch_norm(x, *values, False, 0.1, self.eps))


class LlamaRMSNorm(nn.Module):
    """As language models write it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features, generator=torch.Generator().manual_seed(features)) + 0.5)
        self.variance_epsilon = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


class LayerNorm2d(nn.Module):
    """ConvNeXt's, over the channels of images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]
