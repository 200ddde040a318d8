"""ND102: a running variance of zero or below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.records import Conv, Linear, Norm, NormLayer, OpGraph
from normdiag.rules.alike import alike
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

# What a weight or gamma may be of the layer's largest, and still counts as zero.
NEXT_TO_NOTHING = 1e-6
Sign = Literal["negative", "all", "dead", "alive", "unknown"]
RELOAD = "Load the right buffers, or recalibrate the statistics on training data."
REMEDIES: Mapping[Sign, str] = {
    "negative": RELOAD,
    "all": RELOAD,
    "dead": "Prune these channels: their weights or their gamma are zero, too.",
    "alive": f"{RELOAD} The weights of these channels are not zero.",
    "unknown": "Recalibrate on training data, and prune the channels that stay constant.",
}


@rule("ND102", "variance-not-positive", "error")
def variance_not_positive(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A running variance is negative (error) or exactly zero (a warning, unless the whole layer is zero).

    Why it matters: no data has a negative variance, so the buffer is damaged (a wrong tensor loaded, a failed
    conversion, averaging with negative weights), and below -eps the output is NaN. A variance of zero means that the
    channel was constant throughout training, so the layer divides by sqrt(eps): the smallest change of the input is
    magnified, 316 times with eps = 1e-5. All of a layer at zero means that the buffer was never filled.

    Channels whose gamma is zero, or whose weights in the linear layer before are, are dead: their variance is right,
    and that is information. One finding has all layers of which the same is to be said.

    How to fix it: load the right buffers or recalibrate; prune channels that are constant for good.

    Source: Ioffe and Szegedy 2015, algorithm 2 (inference uses E[x] and Var[x] of the training data).
    """
    layers = [each.layer for each in context.report.layers if each.layer.running_var is not None]
    found = [layer for layer in layers if (np.asarray(layer.running_var) <= 0).any()]
    for sign, group in alike(found, lambda layer: _sign(layer, context.graph)).items():
        if sign == "negative":
            yield from (_of_all(sign, [layer]) for layer in group)
        else:
            yield _of_all(sign, group)


def _of_all(sign: Sign, group: list[NormLayer]) -> FindingDraft:
    var = [np.asarray(layer.running_var, np.float64) for layer in group]
    counts = {
        "negative": sum(int((each < 0).sum()) for each in var),
        "zero": sum(int((each == 0).sum()) for each in var),
    }
    channels = sum(each.size for each in var)
    what = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
    return FindingDraft(
        layers=tuple(layer.name for layer in group),
        text=f"running_var of {channels} channels: {what}",
        remedy=REMEDIES[sign],
        evidence={**counts, "channels": channels, "min": float(min(np.nanmin(each) for each in var))},
        details={layer.name: f"{int((each <= 0).sum())} of {each.size}" for layer, each in zip(group, var, strict=True)}
        if len(group) > 1
        else {},
        severity="error" if sign in ("negative", "all") else "info" if sign == "dead" else "warning",
    )


def _sign(layer: NormLayer, graph: OpGraph | None) -> Sign:
    var = np.asarray(layer.running_var, np.float64)
    if (var < 0).any():
        return "negative"
    channels = var == 0
    dead = _are_dead(layer, channels, graph)
    if dead is True:
        return "dead"
    return "all" if channels.all() else "alive" if dead is False else "unknown"


def _are_dead(layer: NormLayer, channels: NDArray[np.bool_], graph: OpGraph | None) -> bool | None:
    """Whether nothing reaches or leaves these channels; None where neither gamma nor a graph tells."""
    gamma = None if layer.gamma is None else np.abs(np.asarray(layer.gamma, np.float64))
    if gamma is not None and gamma.shape == channels.shape and _is_nothing(gamma, channels):
        return True
    weights = None if graph is None else _weights_before(layer, graph)
    return None if weights is None or weights.shape != channels.shape else _is_nothing(weights, channels)


def _is_nothing(sizes: NDArray[np.float64], channels: NDArray[np.bool_]) -> bool:
    return bool((sizes[channels] <= NEXT_TO_NOTHING * sizes.max()).all())


def _weights_before(layer: NormLayer, graph: OpGraph) -> NDArray[np.float64] | None:
    """The largest weight of each channel in the linear layer that the norm reads."""
    norm = next((op for op in graph.ops if isinstance(op.detail, Norm) and op.detail.layer.name == layer.name), None)
    before = next((op for op in graph.ops if norm is not None and norm.inputs[0] in op.outputs), None)
    if before is None or not isinstance(before.detail, Conv | Linear):
        return None
    detail = before.detail
    try:
        weight = np.abs(np.asarray(detail.weight.read(), np.float32))
    except InputError:
        return None
    if isinstance(detail, Conv):
        out = 1 if detail.transposed else 0
        return None if detail.transposed and detail.groups != 1 else _largest(weight, out)
    return _largest(weight, detail.out_axis % weight.ndim)


def _largest(weight: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    return np.asarray(weight.max(tuple(each for each in range(weight.ndim) if each != axis)), np.float64)
