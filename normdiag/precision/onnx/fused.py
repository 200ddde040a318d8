"""What one operator that normalizes computes, spelled out and rounded step by step: a kernel that stores its sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normdiag.models.onnx import NormSite
from normdiag.observe.onnx.channels import norm_input
from normdiag.observe.onnx.edit import PREFIX
from normdiag.observe.onnx.plan import UNKNOWN
from normdiag.observe.onnx.session import TensorType
from normdiag.precision.onnx.rounder import Rounder


def can_be_written_out(site: NormSite, types: Mapping[str, TensorType]) -> bool:
    """Whether a layer is one operator with sums in it: not a BatchNorm, and on a tensor of known rank."""
    known = site.rank is not None or types.get(site.input, UNKNOWN).rank is not None
    return len(site.nodes) == 1 and site.layer.kind != "batch_norm" and known


def write_out(rounder: Rounder, site: NormSite, types: Mapping[str, TensorType]) -> None:
    """Let this put out what the operator did, whose own output nobody reads any more."""
    edit, r = rounder.edit, rounder.rounded
    x, rank = norm_input(edit, site, types.get(site.input, UNKNOWN))
    assert rank is not None  # `can_be_written_out` has seen to it
    edit.slot, x = site.nodes[0] + 1, r(x)
    flat = x if site.axes else edit.reshape(x, (0, _groups(site), -1))
    axes = [axis % rank for axis in site.axes] or [2]

    def mean(values: str) -> str:
        wide = edit.reduce("ReduceMean", values, axes, keepdims=True)
        return r(rounder.stored_sum(wide, values, wide))

    centred = flat if site.layer.kind == "rms_norm" else r(edit.node("Sub", flat, mean(flat)))
    variance = mean(r(edit.node("Mul", centred, centred)))
    scale = r(edit.node("Sqrt", r(edit.node("Add", variance, rounder.constant(site.layer.eps or 0.0)))))
    y = r(edit.node("Div", centred, scale))
    y = y if site.axes else edit.node("Reshape", y, edit.node("Shape", x))
    outputs = edit.model.graph.node[site.nodes[0]].output
    outputs[:] = [f"{PREFIX}unused/{name}" if name == site.output else name for name in outputs]
    edit.nodes("Identity", [_affine(rounder, site, y, rank)], site.output, {})


def _groups(site: NormSite) -> int:
    """Groups of channels; an InstanceNorm has one for each."""
    return (site.layer.groups if site.layer.kind == "group_norm" else site.layer.channels) or 0


def _affine(rounder: Rounder, site: NormSite, y: str, rank: int) -> str:
    for op, values in (("Mul", site.layer.gamma), ("Add", site.layer.beta)):
        if values is not None:
            y = rounder.rounded(rounder.edit.node(op, y, rounder.constant(_shaped(site, np.asarray(values), rank))))
    return y


def _shaped(site: NormSite, values: Any, rank: int) -> Any:
    """Gamma or beta in a shape that fits beside the tensor."""
    if values.ndim != 1:
        return values
    return values.reshape([-1 if axis == site.channel_axis % rank else 1 for axis in range(rank)])
