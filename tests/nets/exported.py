"""Modules as ONNX files: as either of torch's exporters writes them, with as many samples as one likes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def onnx_file(net: nn.Module, example: Tensor, path: Path, *, dynamo: bool = True, **options: Any) -> Path:
    """Write it, by dynamo with norms that stay (optimize=False), and return the path; `options` are those of torch."""
    free: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]}
    if dynamo:
        free = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "optimize": False, "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (example,), path, dynamo=dynamo, verbose=False, **(free | options))
    return path
