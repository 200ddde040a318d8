"""ND103: channels whose running variance is lost beside eps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normdiag.records import NormLayer, Severity
from normdiag.rules.alike import alike
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

    One finding of each severity has all of its layers. Where the file does not hold eps (a bare state dict), 1e-5 is
    taken, and the confidence is low. Silent for layers that do not use their statistics (ND201).

    Source: Ioffe and Szegedy 2015, algorithm 1, step 3.
    """
    used = [each.layer for each in context.report.layers if not uses_batch(each.layer, context.report.model)]
    found = [each for each in (_counted(layer, limits["dead_ratio"]) for layer in used) if each.below]

    def severity(each: Counted) -> Severity:
        if each.dead == each.channels:
            return "error"
        return "warning" if each.dead and each.dead >= limits["half"] * each.channels else "info"

    worst_first = sorted(found, key=lambda each: (each.dead / each.channels, each.below / each.channels), reverse=True)
    for graded, group in alike(worst_first, severity).items():
        yield _of_all(group, graded)


@dataclass(frozen=True, eq=False)
class Counted:
    """How many channels of a layer have a positive variance below eps, and how many of these far below."""

    layer: NormLayer
    channels: int
    below: int
    dead: int
    smallest: float


def _of_all(group: Sequence[Counted], graded: Severity) -> FindingDraft:
    below, dead, channels = (sum(getattr(each, name) for each in group) for name in ("below", "dead", "channels"))
    eps, assumed = sorted({_eps(each.layer) for each in group}), any(each.layer.eps is None for each in group)
    return FindingDraft(
        layers=tuple(each.layer.name for each in group),
        text=f"{below} of {channels} channels with a running variance below "
        + (f"{eps[0]:g}" if len(eps) == 1 else "eps")
        + (" (eps is not in the file)" if assumed else "")
        + (f", {dead} so far below that they pass on their bias alone" if dead else ""),
        remedy="Prune these channels, or find out why the layer before them went silent.",
        evidence={
            "below_eps": below,
            "dead": dead,
            "channels": channels,
            "layers": len(group),
            "eps": eps[0],
            "min": min(each.smallest for each in group),
        },
        details={each.layer.name: f"{each.below} of {each.channels}" for each in group} if len(group) > 1 else {},
        severity=graded,
        confidence="low" if assumed else "high",
    )


def _eps(layer: NormLayer) -> float:
    return layer.eps if layer.eps is not None else DEFAULT_EPS


def _counted(layer: NormLayer, dead_ratio: float) -> Counted:
    if layer.running_var is None or not np.size(layer.running_var):
        return Counted(layer, 0, 0, 0, 0.0)
    var = np.asarray(layer.running_var, np.float64)
    below, dead = (int(((var > 0) & (var < bound)).sum()) for bound in (_eps(layer), dead_ratio * _eps(layer)))
    return Counted(layer, var.size, below, dead, float(var.min()))
