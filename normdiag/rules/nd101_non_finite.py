"""ND101: NaN or infinity in a parameter or a running statistic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import Report
from normdiag.rules.rule import Draft, rule

TENSORS = ("gamma", "beta", "running_mean", "running_var")


@rule("ND101", "non-finite", "error")
def non_finite(report: Report, limits: Mapping[str, float]) -> Iterator[Draft]:
    """A normalization layer holds NaN or infinity in gamma, beta, running_mean or running_var.

    Why it matters: every output of an affected channel is NaN or infinite, and so is all that follows. A NaN in the
    running statistics stays: new = (1 - momentum) * old + momentum * batch never gets rid of it, even where training
    went on well afterwards.

    How to fix it: find the step at which the loss overflowed (half precision without loss scaling is the usual one)
    and restart from the checkpoint before; where only the running statistics are affected, reset them and recalibrate
    on training data.

    Source: IEEE 754; torch.nn.BatchNorm2d, update of the running estimates.
    """
    for metrics in report.layers:
        for name in TENSORS:
            tensor = getattr(metrics.layer, name)
            bad = 0 if tensor is None else int(np.count_nonzero(~np.isfinite(np.asarray(tensor, np.float64))))
            if bad:
                statistic = name.startswith("running")
                yield Draft(
                    layer=metrics.layer.name,
                    message=f"{metrics.layer.name}: {bad} of {tensor.size} values of {name} are NaN or infinite",
                    remedy="Reset the running statistics and recalibrate them on training data."
                    if statistic
                    else "Go back to a checkpoint from before the loss became NaN.",
                    evidence={"tensor": name, "values": bad, "of": int(tensor.size)},
                )
