"""A precision plan as arguments for what people convert models with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from normdiag.records import ModelInfo

if TYPE_CHECKING:
    from normdiag.records.precision import HalfPrecision


def tool_arguments(half: HalfPrecision, model: ModelInfo) -> dict[str, str]:
    """By tool: what keeps the norms of the plan in float32 there; nothing where no norm is kept."""
    if half.plan is None or not half.plan.kept:
        return {}
    if model.backend != "onnx":
        return {"torch": _python([each.layer for each in half.plan.kept])}
    return dict(
        _onnx(half, [node for each in half.plan.kept for node in each.nodes if node], model.path or "model.onnx")
    )


def unnamed_nodes(half: HalfPrecision) -> int:
    """How many nodes of the plan have no name, so that no tool can be told to keep them."""
    return 0 if half.plan is None else sum(not node for each in half.plan.kept for node in each.nodes)


def _onnx(half: HalfPrecision, nodes: list[str], path: str) -> Iterator[tuple[str, str]]:
    if not nodes:
        return
    # trtexec separates with commas and colons, and takes no node whose name has one of them.
    layers = ",".join(f"{node}:fp32" for node in nodes if not re.search(r"[,:]", node))
    if layers:
        given = shlex.quote(f"--layerPrecisions={layers}")
        yield "trtexec", f"trtexec --onnx={shlex.quote(path)} --{half.target} --precisionConstraints=obey {given}"
    if half.target == "fp16":
        yield "onnxruntime", f"convert_float_to_float16(model, keep_io_types=True, node_block_list={_python(nodes)})"
    patterns = " ".join(shlex.quote(f"^{re.escape(node)}$") for node in nodes)
    cast = f"python -m modelopt.onnx.autocast --onnx_path {shlex.quote(path)} --low_precision_type {half.target}"
    yield "modelopt", f"{cast} --nodes_to_exclude {patterns}"


def _python(names: list[str]) -> str:
    return "[" + ", ".join(repr(name) for name in names) + "]"
