"""The rules: one file each. ND1xx parameters, ND2xx graph and export, ND3xx norms on data, ND4xx activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from normdiag.records import Finding, Report
from normdiag.rules.nd101_non_finite import non_finite
from normdiag.rules.nd102_variance_not_positive import variance_not_positive
from normdiag.rules.nd103_variance_below_eps import variance_below_eps
from normdiag.rules.nd104_never_updated import never_updated
from normdiag.rules.nd201_batch_dependent import batch_dependent
from normdiag.rules.nd202_foldable_norm import foldable_norm
from normdiag.rules.nd203_redundant_bias import redundant_bias
from normdiag.rules.nd204_dropout_before_norm import dropout_before_norm
from normdiag.rules.nd205_norm_after_activation import norm_after_activation
from normdiag.rules.nd206_one_element import one_element
from normdiag.rules.nd207_sync_batch_norm import sync_batch_norm
from normdiag.rules.nd208_int8_range_spread import int8_range_spread
from normdiag.rules.nd301_drift import drift
from normdiag.rules.nd302_gap import gap
from normdiag.rules.nd401_saturated import saturated
from normdiag.rules.nd402_dead_units import dead_units
from normdiag.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    non_finite,
    variance_not_positive,
    variance_below_eps,
    never_updated,
    batch_dependent,
    foldable_norm,
    redundant_bias,
    dropout_before_norm,
    norm_after_activation,
    one_element,
    sync_batch_norm,
    int8_range_spread,
    drift,
    gap,
    saturated,
    dead_units,
)
ORDER = ("error", "warning", "info")

__all__ = ["RULES", "Rule", "with_findings"]


def with_findings(report: Report, rules: Iterable[Rule] = RULES) -> Report:
    """The report with what the rules find in it, errors first."""
    found: list[Finding] = [finding for rule in rules for finding in rule.findings(report)]
    return replace(report, findings=tuple(sorted(found, key=lambda finding: ORDER.index(finding.severity))))
