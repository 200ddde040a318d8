"""ND103: channels whose running variance is lost beside eps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import Report
from normdiag.rules.rule import Draft, rule

# PyTorch's and ONNX's default; used where the file does not say, and then said so.
DEFAULT_EPS = 1e-5


@rule("ND103", "variance-below-eps", "warning", dead_ratio=0.01)
def variance_below_eps(report: Report, limits: Mapping[str, float]) -> Iterator[Draft]:
    """Channels have a running variance below eps: their output is under 71 % of what gamma asks for, or the bias alone.

    Why it matters: the layer divides by sqrt(var + eps). At var = eps the output has 1/sqrt(2) of its standard
    deviation; at var = eps/100 (limit `dead_ratio`) a tenth, and the channel is dead: it passes its bias on and
    carries nothing. Such channels cost time and memory, wreck per-channel quantization, and become noise amplifiers
    as soon as the input changes. A whole dead layer is an error; some dead channels are a warning, for networks
    trained with weight decay have them by the hundred; channels merely below eps are information.

    How to fix it: prune the dead channels, or find out why the layer in front of them stopped (too much weight decay,
    dead ReLUs, an L1 penalty). Where eps was set by another framework's convention (1e-3), check that it is meant.

    Where the file does not hold eps (a bare state dict), 1e-5 is taken, and the confidence is low.

    Source: Ioffe and Szegedy 2015, algorithm 1, step 3.
    """
    for metrics in report.layers:
        layer = metrics.layer
        if layer.running_var is None:
            continue
        eps = layer.eps if layer.eps is not None else DEFAULT_EPS
        var = np.asarray(layer.running_var, np.float64)
        positive = var > 0
        below = int((positive & (var < eps)).sum())
        dead = int((positive & (var < limits["dead_ratio"] * eps)).sum())
        if not below:
            continue
        assumed = "" if layer.eps is not None else " (eps is not in the file)"
        yield Draft(
            layer=layer.name,
            message=f"{layer.name}: {below} of {var.size} channels with a running variance below {eps:g}{assumed}"
            + (f", {dead} so far below that they pass on their bias alone" if dead else ""),
            remedy="Prune these channels, or find out why the layer in front of them went silent.",
            evidence={"below_eps": below, "dead": dead, "channels": var.size, "eps": eps, "min": float(var.min())},
            severity="error" if dead == var.size else "warning" if dead else "info",
            confidence="high" if layer.eps is not None else "low",
        )
