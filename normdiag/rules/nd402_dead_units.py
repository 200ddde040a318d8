"""ND402: units that no sample activates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import ActivationMetrics, Severity
from normdiag.rules.context import Context
from normdiag.rules.nd401_saturated import BOUNDED
from normdiag.rules.rule import FindingDraft, is_measured, rule


@rule("ND402", "dead-units", "warning", fraction=0.5, noted=0.1, samples=64)
def dead_units(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """At least a tenth of a rectifier's units are inactive for every sample and position of the data.

    Why it matters: such a unit passes no signal and no gradient, so it never comes back; it costs its full share of
    time and memory. A layer that is dead throughout cuts the network and is an error.

    Why these limits: with fewer than 64 samples rare features look dead, so the rule stays silent. A published ResNet20
    that gets 91.8 % right on CIFAR-10 has up to an eighth of a layer's units dead, so a tenth (limit `noted`) is
    information and half (limit `fraction`) a warning.

    How to fix it: prune the units; in training, lower the learning rate or the weight decay, or use a rectifier with a
    slope on the left. If all of it began with this data, check the preprocessing first (ND301).

    Silent on random data. Source: Lu et al. 2019 (Dying ReLU and initialization), section 3.
    """
    report = context.report
    if not is_measured(report) or report.data is None or report.data.samples < limits["samples"]:
        return
    for each in report.activations:
        if each.kind in BOUNDED or each.dead_units == 0 or each.dead_units < limits["noted"] * each.units:
            continue
        yield FindingDraft(
            layers=(each.name,),
            text=f"{each.dead_units} of {each.units} units are inactive on all {report.data.samples} samples",
            remedy="Prune these units; in training, lower the learning rate or use a leaky rectifier.",
            evidence={"dead_units": each.dead_units, "units": each.units},
            severity=_severity(each, limits["fraction"]),
        )


def _severity(activation: ActivationMetrics, fraction: float) -> Severity:
    if activation.dead_units == activation.units > 1:
        return "error"
    return "warning" if activation.dead_units >= fraction * activation.units else "info"
