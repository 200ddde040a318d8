"""stale_statistics: the weights changed, or the data that the statistics were taken on was another."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.answer_change import WORSE
from normdiag.diagnosis.evidence.seen import Seen, named

KEPT = (
    "The model was trained on with these statistics (frozen norms) and is less sure with those of its own data: leave "
    "them as they are."
)


@cause("stale_statistics", action="recalibrate", rivals="drift", fault="statistics")
def stale_statistics(seen: Seen) -> Case | None:
    """Stored statistics were right once, for other weights or other data: they were not updated with the model.

    What it means: weights that are averaged (SWA, EMA, model soups), pruned, rounded to few bits or trained on give
    each layer other inputs, while the running statistics stay. Calibration on the wrong images does the same.

    How it is told: all layers drift by themselves, no simpler cause fits, and means moved as no input can move them: a
    linear layer with fewer inputs than outputs leaves its outputs few directions to move in, by its weights, and any
    but the widest moves them in some directions far more than in others. Where that cannot be asked, the means are off
    at all: with batch statistics in all layers, data alone hardly moves an input's mean. Or the data excites the
    features more than the statistics say, which wrong data does not. Weights that were pruned or rounded since show it
    themselves: many are exactly 0 or repeat each other.

    What to do: recalibrate on training data (torch.optim.swa_utils.update_bn does it in training code). Measure the
    accuracy before and after. Where training data (--train-data) drifts as well and the answers are surer with the
    stored statistics, the net was fine-tuned with frozen norms, and there is nothing to repair.

    Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, section 3.2; Li et
    al. 2020, EagleEye (pruning), section 3.3.
    """
    findings = seen.found("ND110")
    if findings and not seen.rows:
        layers = tuple(dict.fromkeys(layer for each in findings for layer in each.layers))
        return Case(
            layers,
            0.6,
            "The running statistics of the averaged copy are those of the last weights.",
            findings[0].text,
            ("ND110", "ND209"),
        )
    if not seen.drifting:
        return None
    weight = 0.3 if seen.answers_other_data or (seen.from_input and not seen.excited) else 0.6
    kept = seen.fault == "statistics" and seen.answers.decided < -WORSE
    share = f"the means make up {seen.mean_part:.0%} of the later layers' drift"
    if seen.reached is not None and seen.reached.mismatch:
        share = f"no input of these weights could make {seen.reached.part:.0%} of it"
    if seen.rewritten:
        share = f"{seen.rewritten:.0%} of the weights before them are exactly 0 or alike, which no training leaves so"
    how = f"{share}, and their inputs vary {_percent(seen.excitement)} than stored" if seen.from_input else share
    doubtful = seen.from_input and seen.rows[0] in seen.loud
    return Case(
        named(seen.drifting),
        weight,
        "The running statistics do not belong to the weights any more: these changed, or the statistics were taken on "
        "other data.",
        f"{len(seen.drifting)} of {len(seen.rows)} layers drift by themselves, by up to "
        f"{max(row.off for row in seen.drifting):.2g} standard deviations; {how}",
        ("ND110", "ND209", *ON_DATA),
        confidence="medium",
        at_most="error" if seen.answers.gains else "warning",
        action="none" if kept else None,
        remedy=KEPT if kept else "",
        alternatives=("domain_shift",) if doubtful else (),
        test="--train-data: drift on training data means the statistics, none the input" if doubtful else "",
    )


def _percent(log_ratio: float) -> str:
    change = 100 * (2.718281828**log_ratio - 1.0)
    return f"{abs(change):.0f} % {'more' if change > 0 else 'less'}"
