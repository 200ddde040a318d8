"""What the measurements mean: which layers need other statistics, and whether the result is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

from normdiag.records.recalibration import Effect, LayerChange, Outcome

# Standard deviations. A layer whose drift is surely below it changes no answers to speak of.
DRIFTING = 0.1
# One that may be as far off as this cannot be called right.
UNCERTAIN = 0.3
# Shares of the answers and of the output: a healthy net's own batches differ by as much.
ANSWERS = 0.02
OUTPUT = 0.2


def drifts(layer: LayerChange) -> bool:
    """Whether the data contradicts the stored statistics; also where these are no numbers."""
    return not layer.drift - 2.0 * _finite(layer.se) <= DRIFTING


def outcome(layers: Sequence[LayerChange], effect: Effect | None, *, converts: bool = False) -> Outcome:
    """What to do: nothing, since all is right or nothing can be told, or to put in what was measured.

    `converts`: there are layers in training mode, which are put into evaluation mode whatever their statistics are.
    """
    chosen = [layer for layer in layers if layer.kept is None]
    if converts or any(drifts(layer) for layer in chosen) or (effect is not None and _matters(effect)):
        return "worse" if effect is not None and is_worse(effect) else "recalibrated"
    seen = [layer for layer in layers if layer.samples]
    unsure = any(not layer.drift + 2.0 * layer.se <= UNCERTAIN for layer in seen)
    return "undecided" if unsure else "already_right"


def is_worse(effect: Effect) -> bool:
    """Whether the accuracy falls, by more than one standard error of the paired difference; else whether the gap rises.

    Of the answers that changed from or to right, a loss of w - r has the variance w + r if chance alone decided.
    """
    if effect.newly is not None:
        right, wrong = effect.newly
        return wrong - right > math.sqrt(wrong + right)
    if effect.gap is None:
        return False
    before, after = effect.gap
    if not math.isfinite(after):
        return math.isfinite(before)
    return effect.gap_rise > 2.0 * effect.gap_rise_se


def _matters(effect: Effect) -> bool:
    """Whether more answers change than chance would have change, or the output by much."""
    if effect.answers_changed is None:
        return not effect.relative_rms <= OUTPUT
    changed = effect.answers_changed * effect.samples
    return changed - 2.0 * math.sqrt(changed) > ANSWERS * effect.samples


def _finite(error: float) -> float:
    return error if math.isfinite(error) else 1e9
