"""Whether the running statistics lag the weights, and why: told from two looks at the same model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normdiag.records import NormLayer, Report
from normdiag.report.headline import headline
from normdiag.wording import abridged

# The rules that say that stored statistics do not fit, with an effect.
DRIFTING = ("ND301", "ND302")
# Statistics follow the weights in about 1 / momentum batches. With 0.05 that is 20, in which weights hardly move.
SLOW = 0.05
AVERAGED = (
    "the running statistics do not fit the averaged weights: they are the last model's, or averages of others; run "
    "torch.optim.swa_utils.update_bn or normdiag.recalibrate before the average is used"
)


def lag(before: Report, now: Report, *, moved: bool, averaged: bool = False) -> str | None:
    """Why the statistics lag the weights, in a sentence or two; None where they do not.

    `moved`: the weights changed between the two looks; `averaged`: they are averages of those of a training. Nothing is
    said of drift that both looks do not show, since statistics lag for a while wherever weights move fast, nor of such
    as changes no answer and stays small.
    """
    if not (moved and _drifts(before) and _drifts(now)):
        return None
    then = {each.layer.name: each.layer for each in before.layers}
    stored = [each.layer for each in now.layers if each.drift is not None]
    still = [layer for layer in stored if layer.name in then and _same(layer, then[layer.name])]
    slow = [layer for layer in stored if layer not in still and _is_slow(layer)]
    if len(still) * 2 > len(stored):
        why = _unchanged(still)
    elif averaged:
        why = AVERAGED
    elif len(slow) * 2 > len(stored):
        why = _slow(slow)
    else:
        return None
    return f"{why} ({headline(now)})"


def _drifts(report: Report) -> bool:
    return any(each.rule in DRIFTING and each.severity != "info" for each in report.findings)


def _same(layer: NormLayer, before: NormLayer) -> bool:
    """Whether its statistics are the same to the last bit."""
    pairs = ((layer.running_mean, before.running_mean), (layer.running_var, before.running_var))
    return all(one is not None and other is not None and np.array_equal(one, other) for one, other in pairs)


def _is_slow(layer: NormLayer) -> bool:
    """By a small momentum, or by None, which averages over all batches since the start."""
    return layer.momentum is None or layer.momentum < SLOW


def _unchanged(layers: Sequence[NormLayer]) -> str:
    who = f"the running statistics of {len(layers)} layers ({abridged([layer.name for layer in layers])})"
    if any(layer.training for layer in layers):
        why = "call the model itself in training, not its parts, and let nothing restore its buffers"
    else:
        why = (
            "of averaged weights, update them with torch.optim.swa_utils.update_bn or average the buffers too "
            "(use_buffers=True); of layers kept in eval mode, recalibrate them when the training is done"
        )
    return f"{who} did not change while the weights did: {why}"


def _slow(layers: Sequence[NormLayer]) -> str:
    momenta = [layer.momentum for layer in layers if layer.momentum]
    names = abridged([layer.name for layer in layers])
    if not momenta:
        return (
            f"the running statistics lag the weights: with momentum=None {names} average over all batches since the "
            "start; give a momentum, as the 0.1 of torch, or recalibrate at the end"
        )
    least = min(momenta)
    return (
        f"the running statistics lag the weights: with momentum {least:g} {names} are about {1 / least:,.0f} batches "
        "behind; raise it, towards the 0.1 of torch, or recalibrate at the end"
    )
