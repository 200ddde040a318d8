"""Exports of the sample models with a free batch dimension, and nothing of the exporting machine in the files."""

from __future__ import annotations

import logging
import warnings
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
    all the same, for a graph that can be read. A module in training mode is exported in training mode.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    mode = torch.onnx.TrainingMode.TRAINING if module.training else torch.onnx.TrainingMode.EVAL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (EXAMPLE,),
            dynamo=True,
            optimize=False,
            training=mode,
            dynamic_shapes=FREE_BATCH,
            input_names=["x"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    fold_constants(program.model)
    RemoveUnusedNodesPass()(program.model)
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    onnx_ir.save(program.model, path)


def to_export(module: nn.Module, path: Path) -> None:
    """Write a torch.export archive (.pt2)."""
    program = torch.export.export(module, (EXAMPLE,), dynamic_shapes=FREE_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)


def to_torchscript(module: nn.Module, path: Path) -> None:
    """Write a TorchScript archive by scripting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
