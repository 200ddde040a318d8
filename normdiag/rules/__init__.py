"""The rules: one file each. ND1xx parameters, ND2xx graph and export, ND3xx norms on data, ND4xx activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from normdiag.records import Finding, Report
from normdiag.rules.context import Context
from normdiag.rules.nd101_non_finite import non_finite
from normdiag.rules.nd102_variance_not_positive import variance_not_positive
from normdiag.rules.nd103_variance_below_eps import variance_below_eps
from normdiag.rules.nd104_never_updated import never_updated
from normdiag.rules.nd105_not_warmed_up import not_warmed_up
from normdiag.rules.nd106_gamma_near_zero import gamma_near_zero
from normdiag.rules.nd107_foreign_convention import foreign_convention
from normdiag.rules.nd108_half_precision import half_precision
from normdiag.rules.nd109_gamma_outliers import gamma_outliers
from normdiag.rules.nd110_copies_disagree import copies_disagree
from normdiag.rules.nd111_odd_affine import odd_affine
from normdiag.rules.nd112_code_in_file import code_in_file
from normdiag.rules.nd201_batch_dependent import batch_dependent
from normdiag.rules.nd202_foldable_norm import foldable_norm
from normdiag.rules.nd203_redundant_bias import redundant_bias
from normdiag.rules.nd204_dropout_before_norm import dropout_before_norm
from normdiag.rules.nd205_norm_after_activation import norm_after_activation
from normdiag.rules.nd206_one_element import one_element
from normdiag.rules.nd207_sync_batch_norm import sync_batch_norm
from normdiag.rules.nd208_int8_range_spread import int8_range_spread
from normdiag.rules.nd209_statistics_contradict_weights import statistics_contradict_weights
from normdiag.rules.nd210_dropout_in_training import dropout_in_training
from normdiag.rules.nd301_drift import drift
from normdiag.rules.nd302_gap import gap
from normdiag.rules.nd303_input_preparation import input_preparation
from normdiag.rules.nd304_serving_noise import serving_noise
from normdiag.rules.nd305_observed_variance import observed_variance
from normdiag.rules.nd306_half_overflow import half_overflow
from normdiag.rules.nd307_outlier_channels import outlier_channels
from normdiag.rules.nd308_other_answers import other_answers
from normdiag.rules.nd309_reference import reference_drift
from normdiag.rules.nd310_half_plan import half_plan
from normdiag.rules.nd401_saturated import saturated
from normdiag.rules.nd402_dead_units import dead_units
from normdiag.rules.nd403_vanishing_gradient import vanishing_gradient
from normdiag.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    non_finite,
    variance_not_positive,
    variance_below_eps,
    never_updated,
    not_warmed_up,
    gamma_near_zero,
    foreign_convention,
    half_precision,
    gamma_outliers,
    copies_disagree,
    odd_affine,
    code_in_file,
    batch_dependent,
    foldable_norm,
    redundant_bias,
    dropout_before_norm,
    norm_after_activation,
    one_element,
    sync_batch_norm,
    int8_range_spread,
    statistics_contradict_weights,
    dropout_in_training,
    drift,
    gap,
    input_preparation,
    serving_noise,
    observed_variance,
    half_overflow,
    outlier_channels,
    other_answers,
    reference_drift,
    half_plan,
    saturated,
    dead_units,
    vanishing_gradient,
)
ORDER = ("error", "warning", "info")

__all__ = ["RULES", "Context", "Rule", "with_findings"]


def with_findings(seen: Report | Context, rules: Iterable[Rule] = RULES) -> Report:
    """The report with what the rules find in it, or in all of its context, errors first."""
    context = seen if isinstance(seen, Context) else Context(seen)
    found: list[Finding] = [finding for rule in rules for finding in rule.findings(context)]
    return replace(context.report, findings=tuple(sorted(found, key=lambda finding: ORDER.index(finding.severity))))
