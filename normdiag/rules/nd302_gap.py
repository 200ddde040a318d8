"""ND302: the model answers otherwise with batch statistics, and not by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from normdiag.records import Gap, Report
from normdiag.rules.rule import Draft, is_measured, rule


@rule("ND302", "batch-eval-gap", "warning", disagreement=0.1, relative_rms=0.5)
def gap(report: Report, limits: Mapping[str, float]) -> Iterator[Draft]:
    """The outputs under batch statistics differ from those under running statistics by more than batch noise explains.

    What it means: the same data, once with the running statistics (as deployed) and once with the statistics of each
    batch (as in training). Part of the gap is the chance of small batches and means nothing for the deployed model;
    the sums say how much. The rule looks at the share that is put down to drift: above `relative_rms` of the output
    or, for class scores, a changed answer in more than `disagreement` of the samples (lower end of the 2-sigma
    interval).

    Why these limits: at batch 32 a healthy ResNet20 disagrees with itself in 5 % of CIFAR-10 images and differs by
    0.37 of the output's RMS, half of it noise; with stale statistics a fifth of the answers and more change.

    How to fix it: see the drift of the layers (ND301); `--attribute` ranks them by how much of the gap each causes.

    Silent on random data. Source: Singh and Shrivastava 2019 (EvalNorm), section 3.
    """
    value = report.gap
    if value is None or not is_measured(report):
        return
    share = math.sqrt(value.explained_drift) if value.explained_drift is not None else 0.0
    disagreement = _lower_disagreement(value) * share
    if disagreement <= limits["disagreement"] and value.relative_rms * share <= limits["relative_rms"]:
        return
    top1 = value.top1_disagreement
    answers = f", and the answer changes for {100 * top1:.1f} % of samples" if top1 is not None else ""
    yield Draft(
        layer=None,
        message=f"{value.output}: differs by {value.relative_rms:.3g} of its RMS between batch and running statistics"
        f" (batch size {value.batch_size}){answers}",
        remedy="Look at the layers with the largest own drift; --attribute ranks them by what they add to the gap.",
        evidence={
            "relative_rms": value.relative_rms,
            "top1_disagreement": top1,
            "explained_drift": value.explained_drift,
            "batch_size": value.batch_size,
        },
        confidence="medium",
    )


def _lower_disagreement(value: Gap) -> float:
    """Lower end of the 2-sigma interval of a proportion; 0 where the output has no classes."""
    p = value.top1_disagreement or 0.0
    return max(p - 2.0 * math.sqrt(p * (1.0 - p) / max(value.samples, 1)), 0.0)
