"""Why two models part at a layer: one small test for each cause, the surest first."""

from __future__ import annotations

import numpy as np

from normdiag.comparison.causes.axes_swapped import axes_swapped
from normdiag.comparison.causes.evidence import PartingEvidence, PartingTest, Side
from normdiag.comparison.causes.half_accumulation import half_accumulation
from normdiag.comparison.causes.input_normalization import input_normalization
from normdiag.comparison.causes.instance_statistics import instance_statistics
from normdiag.comparison.causes.other_activation import other_activation
from normdiag.comparison.causes.other_eps import other_eps
from normdiag.comparison.causes.other_groups import other_groups
from normdiag.comparison.causes.other_parameters import other_statistics, other_weights, quantized
from normdiag.comparison.causes.training_mode import training_mode
from normdiag.records.diff import PartingCause

__all__ = ["CAUSES", "PartingCause", "PartingEvidence", "Side", "cause_of"]

CAUSES: tuple[PartingTest, ...] = (
    training_mode,
    instance_statistics,
    other_groups,
    input_normalization,
    axes_swapped,
    quantized,
    other_weights,
    other_statistics,
    half_accumulation,
    other_eps,
    other_activation,
)


def cause_of(seen: PartingEvidence) -> PartingCause | None:
    """The first cause that the evidence speaks for; None where none does."""
    with np.errstate(all="ignore"):
        return next((case for test in CAUSES if (case := test(seen)) is not None), None)
