"""Nets that magnify rounding where trained ones do, with statistics as training leaves them.

With fresh statistics (mean 0, variance 1) none of them is in rounding noise. With those of training, inputs of ten
times the usual scale drive SiLU, squeeze-and-excite and attention of many layers there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def trained_like(net: nn.Module, seed: int) -> nn.Module:
    """Gammas, betas and running statistics of smooth images, the latter as far off as the last updates leave them."""
    draw = torch.Generator().manual_seed(seed)
    norms = [each for each in net.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
        norm.weight.data = (1 + 0.3 * torch.randn(norm.weight.shape, generator=draw)).abs()
        norm.bias.data = 0.3 * torch.randn(norm.bias.shape, generator=draw)
    with torch.no_grad():
        for _ in range(2):
            coarse = torch.randn(8, 3, 4, 4, generator=draw)
            net.train()(F.interpolate(coarse, size=(32, 32), mode="bilinear") + 0.2 * torch.randn(1, generator=draw))
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn(norm.running_mean.shape, generator=draw)
            norm.running_var *= torch.exp(0.2 * torch.randn(norm.running_var.shape, generator=draw))
    return net.eval()


def conv_norm(into: int, out: int, kernel: int = 1, **options: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, kernel, padding=kernel // 2, bias=False, **options), nn.BatchNorm2d(out))


class Inverted(nn.Module):
    """The block of EfficientNet, where it changes its width: wide SiLU, depthwise, squeeze-and-excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = conv_norm(channels, 4 * channels)
        self.depthwise = conv_norm(4 * channels, 4 * channels, 3, groups=4 * channels)
        self.squeeze, self.excite = nn.Conv2d(4 * channels, channels, 1), nn.Conv2d(channels, 4 * channels, 1)
        self.project = conv_norm(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.depthwise(F.silu(self.widen(x))))
        gate = self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True))))
        return self.project(y * torch.sigmoid(gate))


class Attention(nn.Module):
    """The attention of LeViT and Visformer: convolutions with BatchNorm around a softmax over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv, self.project = conv_norm(channels, 3 * channels), conv_norm(channels, channels)
        self.mix = nn.Sequential(conv_norm(channels, 2 * channels), nn.Hardswish(), conv_norm(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        attended = v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)
        x = x + self.project(F.hardswish(attended.reshape(x.shape)))
        return self.mix(x)


def of(block: Callable[[int], nn.Module], depth: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    stem = nn.Sequential(conv_norm(3, 16, 3, stride=4), nn.SiLU())
    blocks = [block(16) for _ in range(depth)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


# By name, with seeds for which inputs of ten times the usual scale are in rounding noise.
NETS: Mapping[str, Callable[[], nn.Module]] = {
    "inverted": lambda: trained_like(of(Inverted, 18, 1), 1),
    "attention": lambda: trained_like(of(Attention, 8, 2), 2),
}
