"""other_weights, other_statistics, quantized: the layer computes the same with other numbers."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.causes.evidence import PartingEvidence
from normdiag.records.diff import LayerDifference, PartingCause, TensorDifference

# Two states of one training differ by less than the weights are large; two trainings by their sum.
ONE_TRAINING = 0.9


def other_weights(seen: PartingEvidence) -> PartingCause | None:
    """Weights of another step, or of another model; or of this one layer.

    The files differ in the weights, or gamma and beta, of this layer by more than rounding.
    """
    if seen.stored is None or seen.stored.folded is not None:
        return None
    own = _moved(seen.stored)
    if own is None:
        return None
    holding = [each for each in seen.layers if each.kind != "norm"]
    moved = [change for each in holding if (change := _moved(each)) is not None]
    name = seen.stored.a
    if len(moved) <= 1 or len(moved) < 0.5 * len(holding):
        return PartingCause(
            "other_weights",
            f"The weights of {name} differ, those of most other layers do not.",
            f"relative difference {own.relative:.2g}; {len(moved)} of {len(holding)} layers differ",
            "Load this layer from the file that is right.",
        )
    typical = float(np.median([each.relative for each in moved]))
    whose = "another step of the training" if typical < ONE_TRAINING else "another model"
    return PartingCause(
        "other_weights",
        f"The weights are those of {whose}.",
        f"{len(moved)} of {len(holding)} layers differ, by {typical:.2g} of their size in the median",
        "Export the checkpoint that is meant again.",
    )


def other_statistics(seen: PartingEvidence) -> PartingCause | None:
    """The running statistics are others, under the same weights: recalibrated, updated once more, or swapped."""
    if seen.stored is None or not seen.stored.statistics or _moved(seen.stored) is not None:
        return None
    layers = sum(bool(each.statistics) for each in seen.layers)
    return PartingCause(
        "other_statistics",
        f"The running statistics of {seen.stored.a} differ, its weights do not.",
        f"{seen.stored.statistics:.2g} stored deviations; {layers} layers differ in their statistics",
        "normdiag inspect on each of the two, with data, says which statistics are right.",
    )


def quantized(seen: PartingEvidence) -> PartingCause | None:
    """One of the models computes with integers, or with weights that were rounded to them."""
    which = [side.letter for side in (seen.a, seen.b) if side.quantized]
    if len(which) != 1:
        return None
    return PartingCause(
        "quantized",
        f"{which[0]} is quantized here, and the other is not.",
        f"the layer differs by {seen.apart:.2g} of its largest value",
        "Give --tolerance for the error that quantization may make.",
    )


def _moved(each: LayerDifference) -> TensorDifference | None:
    change = each.weights or each.affine
    return None if change is None or change.rounding or each.folded is not None else change
