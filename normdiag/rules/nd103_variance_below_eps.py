"""ND103: channels whose running variance is lost beside eps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import NormLayer
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

# PyTorch's and ONNX's default; used where the file does not say, and then said so.
DEFAULT_EPS = 1e-5


@rule("ND103", "variance-below-eps", "warning", dead_ratio=0.01, half=0.5)
def variance_below_eps(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """Channels have a running variance below eps: their output is under 71 % of what gamma asks for, or the bias alone.

    Why it matters: the layer divides by sqrt(var + eps). At var = eps the output has 1/sqrt(2) of its standard
    deviation; at var = eps/100 (limit `dead_ratio`) a tenth, and the channel is dead: it passes its bias on and
    carries nothing. Such channels cost time and memory, wreck per-channel quantization, and become noise amplifiers
    as soon as the input changes. A whole dead layer is an error, one of which at least half of the channels are dead
    (limit `half`) a warning. Fewer are information: they were dead when the network was trained and cost it nothing,
    and published networks that were trained with weight decay have them by the hundred, up to a sixth of a layer in a
    face detector and four tenths in a segmentation network.

    How to fix it: prune the dead channels, or find out why the layer before them stopped (too much weight decay,
    dead ReLUs, an L1 penalty). Where eps was set by another framework's convention (1e-3), check that it is meant.

    Where the file does not hold eps (a bare state dict), 1e-5 is taken, and the confidence is low. One finding, the
    first with dead channels, also has the sum over all layers. Silent for layers that do not use their statistics
    (ND201).

    Source: Ioffe and Szegedy 2015, algorithm 1, step 3.
    """
    used = [each.layer for each in context.report.layers if not uses_batch(each.layer, context.report.model)]
    counted = [(layer, *_below(layer, limits["dead_ratio"])) for layer in used]
    found = [(layer, below, dead) for layer, below, dead in counted if below]
    speaker = next((layer for layer, _, dead in found if dead), found[0][0] if found else None)
    for layer, below, dead in found:
        eps, var = _eps(layer), np.asarray(layer.running_var, np.float64)
        assumed = "" if layer.eps is not None else " (eps is not in the file)"
        total = f"; {sum(each[1] for each in found)} channels of {len(found)} layers in all"
        yield FindingDraft(
            layers=(layer.name,),
            text=f"{below} of {var.size} channels with a running variance below {eps:g}{assumed}"
            + (f", {dead} so far below that they pass on their bias alone" if dead else "")
            + (total if layer is speaker and len(found) > 1 else ""),
            remedy="Prune these channels, or find out why the layer before them went silent.",
            evidence={"below_eps": below, "dead": dead, "channels": var.size, "eps": eps, "min": float(var.min())},
            severity="error"
            if dead == var.size
            else "warning"
            if dead and dead >= limits["half"] * var.size
            else "info",
            confidence="high" if layer.eps is not None else "low",
        )


def _eps(layer: NormLayer) -> float:
    return layer.eps if layer.eps is not None else DEFAULT_EPS


def _below(layer: NormLayer, dead_ratio: float) -> tuple[int, int]:
    """How many channels have a positive variance below eps, and how many of these far below."""
    if layer.running_var is None:
        return 0, 0
    var = np.asarray(layer.running_var, np.float64)
    positive = var > 0
    below, dead = positive & (var < _eps(layer)), positive & (var < dead_ratio * _eps(layer))
    return int(below.sum()), int(dead.sum())
