"""Small nets for the OpGraph of exported programs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from normdiag.records import Op, OpGraph

IMAGES = torch.rand(2, 3, 8, 8)
ROWS = torch.rand(2, 5)


class Net(nn.Module):
    """A forward written as a function, with modules and buffers by name."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return self.run(self, x) if other is None else self.run(self, x, other)


class FrozenBatchNorm2d(nn.Module):
    """As in torchvision and detectron2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for index, name in enumerate(("weight", "bias", "running_mean", "running_var")):
            self.register_buffer(name, torch.linspace(0.5, 1.5, channels) + index)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, mean, var = (
            each.reshape(1, -1, 1, 1) for each in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        scale = weight * (var + 1e-3).rsqrt()
        return x * scale + (bias - mean * scale)


class BatchNormAct2d(nn.BatchNorm2d):
    """As in timm."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(
            F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
        )


def conv(inputs: int = 3, outputs: int = 8, kernel: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]


def exported(module: nn.Module, *inputs: Tensor, dynamic: bool = True, training: bool = False) -> ExportedProgram:
    """A program with statistics that are not 0 and 1, and any batch size."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    shapes = tuple({0: Dim.DYNAMIC} for _ in inputs) if dynamic else None
    return torch.export.export(module.train(training), inputs, dynamic_shapes=shapes)


def forms(module: nn.Module, *inputs: Tensor, dynamic: bool = True) -> tuple[ExportedProgram, ExportedProgram]:
    """As exported, and decomposed to core operators."""
    program = exported(module, *inputs, dynamic=dynamic)
    return program, program.run_decompositions()


def op(graph: OpGraph, name: str) -> Op:
    (found,) = [each for each in graph.ops if each.name == name]
    return found


def details(graph: OpGraph) -> list[str]:
    return [type(each.detail).__name__ for each in graph.ops]
