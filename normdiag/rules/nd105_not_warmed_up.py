"""ND105: running statistics that still hold much of their initial values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import LayerMetrics, Report, StoredFit
from normdiag.rules.alike import alike
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule
from normdiag.rules.stored import agreed

# What a mixture of one share in all layers may leave unexplained, in how many layers it has to be found, and how far
# their shares may differ. A layer with less than a third of it speaks against.
UNEXPLAINED, FEWEST_LAYERS, MOST, ALIKE = 0.1, 2, 0.6, 0.25
# Beyond this, they were never updated at all (ND104).
NEVER = 0.98


@rule("ND105", "not-warmed-up", "warning", share=0.99, agrees=0.1, left=0.05)
def not_warmed_up(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """Too few batches went into the running statistics: part of the initial mean 0 and variance 1 is still in them.

    What it means: after t updates with momentum m, a share of (1 - m)^t of a running statistic is the value it began
    with. At the default momentum of 0.1 it takes 44 batches until that is under 1 % (limit `share`), at 0.01 459.

    Why it matters: eval mode normalizes with a mixture of the data's statistics and of 0 and 1, while training used
    the data's alone. It happens after short fine-tuning of a net with new norm layers, after update_bn or a
    recalibration over a handful of batches, and with a small momentum.

    What data shows: over the channels, stored = share * initial + (1 - share) * observed. Where that explains nine
    tenths of the difference in most layers, two at least, with nearly the same share of surely over 5 % (limit
    `left`), the rule fires whatever the counter says.

    What keeps it silent: a momentum or a number of batches that the file does not hold (weights alone do not say the
    momentum), a cumulative average (momentum=None), no batches tracked at all (converted weights), a variance below
    what the initial 1 would have left, in this layer or another with the same counter (the statistics came from
    elsewhere and the counter began anew, or an averaged copy does not count), a layer that does not use its statistics
    (ND201), and data: where it agrees with every such layer, with a drift whose interval
    reaches below the limit `agrees`, or finds less than a third of that share of 0 and 1 in what is stored.

    How to fix it: run more training batches through the model in train mode, or recalibrate with a cumulative average
    (momentum=None), which keeps nothing of the initial values.

    Source: torch.nn.BatchNorm2d, update of the running estimates.
    """
    used = [each for each in context.report.layers if _counts(each, context.report)]
    anew = {_pace(each) for each in used if not _began_at_one(each)}
    cold = [each for each in used if _pace(each) not in anew and 1.0 - _left(each) < limits["share"]]
    if cold and all(agreed(each, limits["agrees"]) or _refuted(each) for each in cold):
        cold = []
    if not cold:
        yield from _by_data(context.report, limits["left"])
    for (momentum, tracked), group in alike(cold, _pace).items():
        left = (1.0 - momentum) ** tracked
        yield FindingDraft(
            layers=tuple(each.layer.name for each in group),
            text=f"after {tracked} batches with momentum {momentum:g}, {100 * left:.2g}% of "
            "the running statistics is still their initial 0 and 1",
            remedy="Recalibrate on training data with a cumulative average (momentum=None), or train on.",
            evidence={"layers": len(group), "momentum": momentum, "batches": tracked, "initial_share": left},
            confidence="medium",
        )


def _by_data(report: Report, least: float) -> Iterator[FindingDraft]:
    """Layers whose stored statistics are one mixture of 0 and 1 and what the data shows."""
    used = [each for each in report.layers if each.stored_fit is not None and not uses_batch(each.layer, report.model)]
    if not is_measured(report) or report.data is None or report.data.random:
        return
    mixed = [(each, fit) for each in used if (fit := each.stored_fit) is not None and _is_mixed(fit, least)]
    shares = np.array([fit.initial_share for _, fit in mixed])
    if len(mixed) < FEWEST_LAYERS or len(mixed) < MOST * len(used):
        return
    share = float(np.median(shares))
    against = [fit for each in used if (fit := each.stored_fit) is not None and _below(fit, share / 3.0)]
    if against or np.median(np.abs(shares - share)) > ALIKE * share:
        return
    yield FindingDraft(
        layers=tuple(each.layer.name for each, _ in mixed),
        text=f"{100 * share:.2g}% of the running statistics is still their initial 0 and 1, as the data shows",
        remedy="Recalibrate on training data with a cumulative average (momentum=None), or train on.",
        evidence={"layers": len(mixed), "initial_share": share},
        confidence="medium",
    )


def _is_mixed(fit: StoredFit, least: float) -> bool:
    lower = fit.initial_share - 2.0 * fit.initial_share_se
    return fit.unexplained < UNEXPLAINED and least < lower and fit.initial_share < NEVER


def _pace(metrics: LayerMetrics) -> tuple[float, int]:
    return metrics.layer.momentum or 0.0, metrics.layer.num_batches_tracked or 0


def _counts(metrics: LayerMetrics, report: Report) -> bool:
    momentum, tracked = _pace(metrics)
    counted = 0.0 < momentum < 1.0 and tracked > 0 and metrics.layer.has_statistics
    return counted and not uses_batch(metrics.layer, report.model)


def _left(metrics: LayerMetrics) -> float:
    """The share of the initial values that the counter leaves."""
    momentum, tracked = _pace(metrics)
    return float((1.0 - momentum) ** tracked)


def _refuted(metrics: LayerMetrics) -> bool:
    """Whether the data finds far less of 0 and 1 in the stored statistics than the counter says."""
    fit = metrics.stored_fit
    return fit is not None and _below(fit, _left(metrics) / 3.0)


def _below(fit: StoredFit, share: float) -> bool:
    """Whether there is surely less of 0 and 1 than this."""
    return fit.initial_share + 2.0 * fit.initial_share_se < share


def _began_at_one(metrics: LayerMetrics) -> bool:
    """Whether every variance is at least what is left of an initial 1; the margin is for rounding."""
    return bool(np.all(np.asarray(metrics.layer.running_var, np.float64) >= 0.99 * _left(metrics)))
