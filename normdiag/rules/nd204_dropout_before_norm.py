"""ND204: BatchNorm statistics that were gathered after a dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from normdiag.records import Report
from normdiag.rules.alike import alike
from normdiag.rules.context import Context
from normdiag.rules.dropouts import Shifted, shifted
from normdiag.rules.rule import FindingDraft, is_measured, rule
from normdiag.rules.stored import contradicted


@rule("ND204", "dropout-before-norm", "warning", drift=0.1)
def dropout_before_norm(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A dropout lies before a BatchNorm, whose statistics were gathered with it on and are used with it off.

    What it means: a dropout that keeps a share k of the values and divides them by k leaves their mean as it is and
    adds (1 - k)/k of their mean square to the variance: it multiplies that of values around zero by 1/k. The running
    variance was gathered so; in eval mode nothing is dropped, and the layer's output has sqrt(k) of its standard
    deviation. That is a drift of 1 - sqrt(k): 0.29 for a dropout of 0.5. Values with a mean away from zero, as after a
    ReLU, make it worse: 0.36 for a ReLU of normal values, 0.5 and more where the mean is large. Convolutions and linear
    layers between the two hand the ratio on, and pull it towards 1 where their inputs are correlated.

    Why this limit: healthy networks drift by 0.1 and more for other reasons (ND301), so a dropout of 0.19 or less is
    information, and a warning begins where the expected drift is above 0.1 (limit `drift`). It stays information where
    data shows that none of these layers surely drifts by so much.

    What keeps it silent: a sum with a branch without dropout, or another nonlinearity than ReLU and its leaky kin,
    after which the ratio is not known; and exports without Dropout nodes, which is most of them. If the statistics
    were gathered again in eval mode, nothing is wrong: data shows it (ND301). ND202 says which models are looked at.

    How to fix it: put the dropout after the last BatchNorm, or recalibrate the statistics with the dropout off and
    compare the accuracy before and after.

    Source: Li et al. 2018, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift,
    section 3.
    """
    dropouts = sorted(shifted(context.graph).values(), key=lambda each: each.keep)
    for found in alike(dropouts, lambda each: each.keep).values():
        keep, drift = found[0].keep, found[0].drift
        yield FindingDraft(
            layers=tuple(each.norm for each in found),
            text=f"statistics gathered with {100 * (1 - keep):.0f}% dropped in training; with the dropout off, the "
            f"standard deviation is smaller, by {100 * drift:.0f}% for values around zero and by more after a ReLU",
            remedy="Put the dropout after the last BatchNorm, or recalibrate with the dropout off and measure.",
            evidence={"keep": keep, "expected_drift": drift, "layers": len(found)},
            details={each.norm: f"after {each.dropout}" for each in found},
            severity="info"
            if drift <= limits["drift"] or _harmless(found, context.report, limits["drift"])
            else "warning",
            confidence="medium",
        )


def _harmless(found: Sequence[Shifted], report: Report, limit: float) -> bool:
    """Whether data was run and none of the norms surely drifts by more than the limit."""
    norms = {each.norm for each in found}
    known = [contradicted(each, limit) for each in report.layers if each.layer.name in norms and each.drift is not None]
    return is_measured(report) and len(known) == len(norms) and True not in known
