"""Exports of the sample models with a free batch dimension, and no paths of the exporting machine in the files."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from pathlib import Path

import onnx_ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import nn

EXAMPLE = torch.zeros(3, 1, 8, 8)
FREE_BATCH = ({0: torch.export.Dim("batch")},)


def to_onnx(module: nn.Module, path: Path) -> None:
    """Write one .onnx file with input `x`, output `logits` and every normalization layer still visible.

    `optimize=False`: the exporter's own optimizer would fold BatchNorm into the convolutions. Constants are folded
    all the same, for a graph that can be read.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (EXAMPLE,),
            dynamo=True,
            optimize=False,
            dynamic_shapes=FREE_BATCH,
            input_names=["x"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    fold_constants(program.model)
    RemoveUnusedNodesPass()(program.model)
    _save(program.model, path)


def to_onnx_folded(module: nn.Module, path: Path) -> None:
    """Write what `torch.onnx.export(module, x, path)` writes: its optimizer folds BatchNorm into the convolutions."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (EXAMPLE,),
            dynamo=True,
            dynamic_shapes=FREE_BATCH,
            input_names=["x"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    _save(program.model, path)


def _save(model: onnx_ir.Model, path: Path) -> None:
    """Write the file without the paths of this machine."""
    for node in model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    onnx_ir.save(model, path)


def to_onnx_training(module: nn.Module, path: Path) -> None:
    """Write the .onnx file that a forgotten eval() gives: BatchNormalization with training_mode=1.

    With the TorchScript-based exporter: the newer one of torch 2.13 quietly exports inference mode in any case.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.train(),
            (EXAMPLE,),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
            input_names=["x"],
            output_names=["logits"],
        )


def to_export(module: nn.Module, path: Path) -> None:
    """Write a torch.export archive (.pt2)."""
    program = torch.export.export(module, (EXAMPLE,), dynamic_shapes=FREE_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)


def to_torchscript(module: nn.Module, path: Path) -> None:
    """Write a TorchScript archive by scripting, without its debug records: they hold source paths of this machine."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), buffer)
    with zipfile.ZipFile(buffer) as full, zipfile.ZipFile(path, "w") as lean:
        for member in full.infolist():
            if not member.filename.endswith(".debug_pkl"):
                name = f"{path.stem}/{member.filename.partition('/')[2]}"
                lean.writestr(zipfile.ZipInfo(name), full.read(member))
