"""Folded PyTorch models as files: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.export import ExportedProgram

from normdiag.folding.options import ExportOptions
from normdiag.records import Batch
from normdiag.writing.pytorch.new_files import write_program, write_state


def write_onnx(program: ExportedProgram, target: Path, options: ExportOptions, example: Batch) -> tuple[str, ...]:
    """By torch.onnx.export. Raises InputError where that cannot express the program, or the file runs differently."""
    from normdiag.folding.pytorch.onnx_check import check_onnx
    from normdiag.folding.pytorch.onnx_file import export_onnx, save_onnx  # needs onnxscript, which .pt2 does without

    exported = export_onnx(program, options)
    return save_onnx(exported.model, target, lambda path: check_onnx(path, program, exported.names, example))


def write_folded_program(program: ExportedProgram, target: Path) -> tuple[str, ...]:
    """A torch.export file; says how to load it."""
    write_program(program, target)
    return (f"load it with torch.export.load({target.name!r}).module()",)


def write_folded_weights(weights: Mapping[str, Tensor], target: Path) -> tuple[str, ...]:
    """A state dict, as safetensors or in torch's own format by the suffix of `target`; says how to load it."""
    write_state(weights, target)
    return (f"load them into the original architecture with normdiag.load_folded(Net(), {target.name!r})",)
