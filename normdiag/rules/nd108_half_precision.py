"""ND108: parameters that half precision cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import NormLayer
from normdiag.rules.alike import alike
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.half import LARGEST, runs_in_half
from normdiag.rules.rule import FindingDraft, rule

TENSORS = ("gamma", "beta", "running_mean", "running_var")


@rule("ND108", "half-precision", "error", eps=6e-8)
def half_precision(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A parameter, a statistic or the scale gamma / sqrt(var + eps) does not fit float16.

    What it means: float16 ends at 65504 and its smallest number above zero is 5.96e-8. A running variance above the
    first becomes infinite and the channel's output its bias. A variance and an eps that are both rounded to zero
    divide by zero. A scale beyond the range turns the output into infinity, and what follows into NaN.

    An eps below 6e-8 (limit `eps`) alone is a warning: it guards nothing any more, and the first constant input (a
    padded token, a blank image) is 0 / 0.

    When it looks: where the model is declared for float16 (`--target fp16`), or where none is declared and a layer's
    tensors are stored in it. bfloat16 has the range of float32, so there is nothing to find.

    How to fix it: keep the normalization layers in float32 (autocast does), raise eps to 1e-5 and check the accuracy,
    or fold BatchNorm into the layer before it while still in float32 (`normdiag fold`).

    Source: IEEE 754-2008, binary16; Micikevicius et al. 2018, Mixed Precision Training, section 3.
    """
    layers = [each.layer for each in context.report.layers if runs_in_half(each.layer, context.report)]
    for layer in layers:
        unused = uses_batch(layer, context.report.model)
        problems = [] if unused else [*_too_large(layer), *_scale(layer)]
        if problems:
            yield FindingDraft(
                layers=(layer.name,),
                text=f"in float16, {' and '.join(problems)}",
                remedy="Keep this layer in float32, or fold it into the layer before it while in float32.",
                evidence={"problems": len(problems), "eps": layer.eps},
            )
    tiny = [layer for layer in layers if layer.eps is not None and layer.eps < limits["eps"]]
    for eps, same in alike(tiny, lambda layer: layer.eps).items():
        yield FindingDraft(
            layers=tuple(layer.name for layer in same),
            text=f"eps {eps:g} is lost in float16, so that a constant input divides zero by zero",
            remedy="Raise eps to 1e-5 and check the accuracy, or keep these layers in float32.",
            evidence={"layers": len(same), "eps": eps},
            severity="warning",
        )


def _too_large(layer: NormLayer) -> Iterator[str]:
    """Tensors with finite values that become infinite; those that are already are ND101's."""
    for name in TENSORS:
        tensor = getattr(layer, name)
        size = np.zeros(0) if tensor is None else np.abs(np.asarray(tensor, np.float64))
        if count := int(np.count_nonzero(np.isfinite(size) & (size > LARGEST))):
            yield f"{count} of {tensor.size} values of {name} are infinite"


def _scale(layer: NormLayer) -> Iterator[str]:
    if layer.running_var is None or layer.eps is None:
        return
    var = np.asarray(layer.running_var, np.float64)
    gamma = np.abs(np.asarray(1.0 if layer.gamma is None else layer.gamma, np.float64))
    if gamma.shape not in ((), var.shape):
        return
    with np.errstate(all="ignore"):
        # Held in float16, added in more: the kindest of the ways in which kernels compute it.
        scale = gamma / np.sqrt(var.astype(np.float16).astype(np.float64) + float(np.float16(layer.eps)))
    if count := int(np.count_nonzero((var >= 0) & (gamma > 0) & (scale > LARGEST))):
        yield f"gamma / sqrt(var + eps) overflows in {count} of {var.size} channels"
