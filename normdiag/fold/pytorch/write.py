"""Folded PyTorch models as files: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from normdiag.atomic import replacing
from normdiag.fold.options import ExportOptions
from normdiag.fold.pytorch.onnx_file import onnx_model, save_onnx
from normdiag.fold.pytorch.quiet import quiet


def write_onnx(program: ExportedProgram, target: Path, options: ExportOptions) -> tuple[str, ...]:
    """By torch.onnx.export. Raises InputError where that cannot express the program."""
    return save_onnx(onnx_model(program, options), target)


def write_program(program: ExportedProgram, target: Path) -> tuple[str, ...]:
    """A torch.export file, which `torch.export.load` reads."""
    with replacing(target) as stream, quiet():
        torch.export.save(program, stream)
    return (f"load it with torch.export.load({target.name!r}).module()",)


def write_weights(weights: Mapping[str, Tensor], target: Path) -> tuple[str, ...]:
    """A state dict, as safetensors or in torch's own format by the suffix of `target`."""
    plain = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    with replacing(target) as stream:
        if target.suffix.lower() == ".safetensors":
            from safetensors.torch import save

            stream.write(save(plain, metadata={"format": "pt"}))
        else:
            torch.save(plain, stream)
    return (f"load them into the original architecture with normdiag.load_folded(Net(), {target.name!r})",)
