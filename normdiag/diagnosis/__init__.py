"""From a report to its verdict: what was measured, what happened to the model, and what to do about it."""

from __future__ import annotations

from normdiag.diagnosis.batch_dependent import batch_dependent
from normdiag.diagnosis.cause import Cause
from normdiag.diagnosis.coverage import coverage
from normdiag.diagnosis.dead_channels import dead_channels
from normdiag.diagnosis.decide import diagnosed
from normdiag.diagnosis.domain_shift import domain_shift
from normdiag.diagnosis.dropout_before_norm import dropout_before_norm
from normdiag.diagnosis.few_samples import few_samples
from normdiag.diagnosis.folded_norms import folded_norms
from normdiag.diagnosis.foreign_statistics import foreign_statistics
from normdiag.diagnosis.half_precision import half_precision
from normdiag.diagnosis.input_preparation import input_preparation
from normdiag.diagnosis.never_updated import never_updated
from normdiag.diagnosis.non_finite import non_finite
from normdiag.diagnosis.not_warmed_up import not_warmed_up
from normdiag.diagnosis.padding import padding
from normdiag.diagnosis.saturation import saturation
from normdiag.diagnosis.skewed_data import skewed_data
from normdiag.diagnosis.small_batches import small_batches
from normdiag.diagnosis.stale_statistics import stale_statistics
from normdiag.diagnosis.wrong_affine import wrong_affine
from normdiag.diagnosis.wrong_convention import wrong_convention

CAUSES: tuple[Cause, ...] = (
    never_updated,
    not_warmed_up,
    few_samples,
    stale_statistics,
    foreign_statistics,
    wrong_convention,
    wrong_affine,
    input_preparation,
    domain_shift,
    skewed_data,
    small_batches,
    batch_dependent,
    dropout_before_norm,
    padding,
    non_finite,
    dead_channels,
    half_precision,
    saturation,
    folded_norms,
)

__all__ = ["CAUSES", "Cause", "coverage", "diagnosed"]
