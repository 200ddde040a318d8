"""Programs of small nets as torch.export gives them, for the tests of their OpGraph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from normdiag.records import Op, OpGraph

IMAGES = torch.rand(2, 3, 8, 8)
ROWS = torch.rand(2, 5)


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
