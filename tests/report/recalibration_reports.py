"""Recalibration reports to render: what `recalibrate` says in each of its outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from normdiag.records import ModelInfo
from normdiag.records.recalibration import Effect, LayerChange, RecalibrationReport

MODEL = ModelInfo("net.pt", "torch-zip", "pytorch", "0" * 64, 104_300, 24_058)
LAYERS = (
    LayerChange("stem.norm", "batch_norm", 16, 1151, 73_664, 0.116, 0.002, 0.0035),
    LayerChange("body.norm", "batch_norm", 32, 1151, 18_416, 0.2403, 0.0031, 0.0049),
    LayerChange("head.norm", "instance_norm", 64, 1151, 1151, 1.497, 0.0131, 0.0151),
)
EFFECT = Effect(287, "logits", 0.659, 0.1046, (0.895, 1.0), (30, 0), (1.328, 0.273), -1.4, 0.03)


def repaired() -> RecalibrationReport:
    """Averaged weights: all layers got statistics."""
    return RecalibrationReport(
        MODEL, "train.npz", "recalibrated", "precise", LAYERS, 1151, 287, 52, effect=EFFECT, written="fixed.pt"
    )


def right() -> RecalibrationReport:
    """Nothing to do."""
    calm = tuple(replace(each, drift=0.0, se=each.error) for each in LAYERS)
    effect = replace(EFFECT, relative_rms=0.02, answers_changed=0.0, accuracy=(0.99, 0.99), newly=(0, 0))
    return replace(repaired(), outcome="already_right", layers=calm, effect=effect, written="copy.pt")


def worse() -> RecalibrationReport:
    """Refused, judged by labels."""
    effect = replace(EFFECT, accuracy=(0.99, 0.41), newly=(1, 166))
    return replace(repaired(), outcome="worse", effect=effect, written=None)


def few() -> RecalibrationReport:
    """Too few samples to tell, and none held out."""
    vague = tuple(replace(each, drift=0.1, se=0.3, error=0.4, samples=12) for each in LAYERS)
    return replace(
        repaired(), outcome="undecided", layers=vague, samples=12, held_out=0, effect=None, written=None, notes=("few",)
    )


def partial() -> RecalibrationReport:
    """A dry run on chosen layers, judged by the gap, with a share of the stored statistics kept."""
    layers = (replace(LAYERS[0], kept="not among --layers"), *LAYERS[1:])
    effect = replace(EFFECT, accuracy=None, newly=None, answers_changed=None)
    return replace(
        repaired(),
        layers=layers,
        effect=effect,
        keep=0.25,
        tolerance=0.01,
        needed=2625,
        written=None,
        dry_run=True,
        method="sequential",
        passes=4,
    )


def poisoned() -> RecalibrationReport:
    """Stored statistics that are no numbers."""
    layers = (replace(LAYERS[0], drift=math.nan, se=math.inf), *LAYERS[1:])
    return replace(repaired(), layers=layers, effect=replace(EFFECT, relative_rms=math.nan))


def elsewhere() -> RecalibrationReport:
    """Right statistics, and a model that is wrong all the same."""
    return replace(right(), effect=replace(EFFECT, accuracy=(0.02, 0.02), newly=(0, 0)))


def left() -> RecalibrationReport:
    """The only layer that drifts cannot be changed."""
    layers = (
        *right().layers[:2],
        replace(LAYERS[2], kept="it stands inside a function of the model, or in a subgraph"),
    )
    return replace(right(), outcome="undecided", layers=layers)


def converted() -> RecalibrationReport:
    """A training-mode export with right statistics."""
    layers = tuple(replace(each, uses="stored") for each in right().layers[:2])
    return replace(right(), outcome="recalibrated", layers=layers)


REPORTS: Mapping[str, Callable[[], RecalibrationReport]] = {
    "repaired": repaired,
    "right": right,
    "elsewhere": elsewhere,
    "left": left,
    "converted": converted,
    "worse": worse,
    "few": few,
    "partial": partial,
    "poisoned": poisoned,
}
