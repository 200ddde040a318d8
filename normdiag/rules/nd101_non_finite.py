"""ND101: NaN or infinity in a parameter or a running statistic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import LayerMetrics
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

TENSORS = ("gamma", "beta", "running_mean", "running_var")


@rule("ND101", "non-finite", "error")
def non_finite(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A normalization layer holds NaN or infinity in gamma, beta, running_mean or running_var.

    Why it matters: every output of an affected channel is NaN or infinite, and so is all that follows. A NaN in the
    running statistics stays: new = (1 - momentum) * old + momentum * batch never gets rid of it, even where training
    went on well afterwards.

    With data, the first layer is named whose input is not finite although its own numbers are: what is before it, a
    weight or an activation that overflows, is the cause.

    How to fix it: find the step at which the loss overflowed (half precision without loss scaling is the usual one)
    and restart from the checkpoint before; where only the running statistics are affected, reset them and recalibrate
    on training data.

    Source: IEEE 754; torch.nn.BatchNorm2d, update of the running estimates.
    """
    for metrics in context.report.layers:
        for name in TENSORS:
            tensor = getattr(metrics.layer, name)
            bad = 0 if tensor is None else int(np.count_nonzero(~np.isfinite(np.asarray(tensor, np.float64))))
            if bad:
                statistic = name.startswith("running")
                yield FindingDraft(
                    layers=(metrics.layer.name,),
                    text=f"{bad} of {tensor.size} values of {name} are NaN or infinite",
                    remedy="Reset the running statistics and recalibrate them on training data."
                    if statistic
                    else "Go back to a checkpoint from before the loss became NaN.",
                    evidence={"tensor": name, "values": bad, "of": int(tensor.size)},
                )
    broken = (each for each in context.report.layers if each.drift is not None and not np.isfinite(each.drift.rms))
    first = next(broken, None)
    if first is not None and _input_is_broken(first):  # else its own statistics are at fault, as said above or by ND102
        yield FindingDraft(
            layers=(first.layer.name,),
            text="its input holds NaN or infinity on this data; no layer before it does",
            remedy="Look at the weights and activations before this layer for NaN, infinity or overflow.",
            evidence={"calls": first.calls},
        )


def _input_is_broken(metrics: LayerMetrics) -> bool:
    """Whether the observed moments are not finite although the layer's own parameters and statistics are in order."""
    layer, drift = metrics.layer, metrics.drift
    if drift is None or layer.running_var is None:
        return False
    var = np.asarray(layer.running_var, np.float64)
    sound = np.isfinite(var) & (var >= 0) & np.isfinite(np.asarray(layer.running_mean, np.float64))
    return bool(np.any(sound & ~np.isfinite(drift.d)))
