"""Networks of the usual sizes for the benchmarks, in torchvision's structure and names, with random weights.

Parameter counts equal torchvision's: resnet50 25,557,032; densenet121 7,978,856; mobilenet_v2 3,504,872;
vit_b 86,567,656.
Seed before building (`torch.manual_seed`), then call `calibrated` so that the running statistics fit the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.nets.densenet import densenet121
from tests.nets.mobilenet_v2 import MobileNetV2
from tests.nets.resnet import resnet50
from tests.nets.vision_transformer import vit_b

NETS: Mapping[str, Callable[[], nn.Module]] = {
    "resnet50": resnet50,
    "densenet121": lambda: densenet121(32, 1000),
    "mobilenet_v2": lambda: MobileNetV2(1, 1000),
    "vit_b": vit_b,
}


@torch.no_grad()
def calibrated(net: nn.Module, seed: int = 0, shape: tuple[int, ...] = (8, 3, 128, 128)) -> nn.Module:
    """The same net in eval mode, with varied gamma and beta and running statistics of one seeded normal batch."""
    generator = torch.Generator().manual_seed(seed)
    net.eval()
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.normal_(0.0, 0.2, generator=generator)
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average: after one batch, exactly that batch's statistics
        norm.train()
    if norms:
        net(torch.randn(shape, generator=generator))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()
