"""New files: a state dict, or a torch.export program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from normdiag.models.pytorch.quiet import quiet
from normdiag.writing.atomic import replacing


def write_program(program: ExportedProgram, target: Path) -> None:
    """A torch.export file, which `torch.export.load` reads."""
    with replacing(target) as stream, quiet():
        torch.export.save(program, stream)


def write_state(weights: Mapping[str, Tensor], target: Path) -> None:
    """A state dict, as safetensors or in torch's own format by the suffix of `target`."""
    plain = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    with replacing(target) as stream:
        if target.suffix.lower() == ".safetensors":
            from safetensors.torch import save

            stream.write(save(plain, metadata={"format": "pt"}))
        else:
            torch.save(plain, stream)
