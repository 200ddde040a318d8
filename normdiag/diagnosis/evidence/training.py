"""Where the fault lies, by what the same model shows on data that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.records import Drift, OnTrainingData

Fault = Literal["statistics", "data"]
# Below this many samples an error bar is itself a guess.
FEWEST_SAMPLES = 8
# Of the drift on the data, the part that is there on training data as well, from which on it is of the statistics.
PART = 0.5


def fault(rows: Sequence[LayerRow], training: OnTrainingData | None) -> Fault | None:
    """`statistics` where `rows`, the layers that drift, drift on training data as well, else `data`; None if unknown.

    Statistics and weights that do not fit each other show on any data; another input, on that input alone. What both
    have in common (plain images, where training augmented them) is small beside either.
    """
    if training is None or training.data.random or training.data.samples < FEWEST_SAMPLES:
        return None
    there = {each.layer.name: each.own or each.drift for each in training.layers}
    both = [(row.off, _off(there, row.name)) for row in rows]
    known = [(here, other) for here, other in both if other is not None and np.isfinite(other)]
    if not known:
        return None
    here, other = (float(np.sqrt(np.mean(np.square(each)))) for each in zip(*known, strict=True))
    return "statistics" if other > PART * here else "data"


def _off(drifts: Mapping[str, Drift | None], name: str) -> float | None:
    drift = drifts.get(name)
    return None if drift is None else drift.corrected
