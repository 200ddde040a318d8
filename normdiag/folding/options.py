"""How a PyTorch module becomes a graph, and the graph an ONNX file. Nothing heavy is imported for it."""

from __future__ import annotations

from dataclasses import dataclass

# What a folded model can be written as: ONNX, torch.export, and weights.
SUFFIXES = (".onnx", ".pt2", ".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class ExportOptions:
    """Options of torch.export and torch.onnx.export.

    `dynamic_axes` are the axes of every input that stay free: 0 is the batch. `opset` is the ONNX opset, None for the
    exporter's own. `input_names` and `output_names` are for ONNX files, in order; empty for those of the forward.
    """

    dynamic_axes: tuple[int, ...] = (0,)
    opset: int | None = None
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
