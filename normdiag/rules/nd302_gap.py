"""ND302: the model answers otherwise with batch statistics, and not by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from normdiag.records import Gap, LayerMetrics, Report
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule

EACH_BY_ITSELF = "Make the InstanceNorm layers with track_running_stats=False: the same weights, each sample by itself."


@rule("ND302", "batch-eval-gap", "warning", disagreement=0.08, relative_rms=0.5, explained=0.33)
def gap(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """The outputs under batch statistics differ from those under running statistics by more than batch noise explains.

    What it means: the same data, once with the running statistics (as deployed) and once with the statistics of each
    batch (as in training). Part of the gap is the chance of small batches and means nothing for the deployed model;
    the sums say how much. The rule looks at the share that is put down to drift: above `relative_rms` of the output
    or, for class scores, a changed answer in more than `disagreement` of the samples (lower end of the 2-sigma
    interval). Where drift explains less than a third of the gap (limit `explained`), the batches are too small to tell.

    Why these limits: at batch 32 a healthy ResNet20 disagrees with itself in 5 % of CIFAR-10 images and differs by
    0.37 of the output's RMS, half of it noise; put down to drift are 4.5 % and 0.27, and in nets trained with strong
    augmentation as much as that and 0.31. In batches of two to four, noise alone changes a fifth to three quarters of
    the answers, of which drift explains at most 16 %. With stale statistics a fifth of the answers and more change.

    Where to look: the layer is told that drifts most by itself, that is with batch statistics in all before it. Small
    drift of one layer, below what ND301 reports, is often enough. `--attribute` ranks the layers by how much of the gap
    each causes.

    How to fix it: recalibrate on training data and measure the accuracy before and after, or prepare the input as in
    training.

    InstanceNorm layers with running statistics are trained with the statistics of each sample and deployed with
    averages of them. In a model where they alone store statistics, the gap is between these two, and all of it counts.

    Silent on random data. Source: Singh and Shrivastava 2019 (EvalNorm), section 3.
    """
    value = context.report.gap
    if value is None or not is_measured(context.report):
        return
    if _of_samples(context.report):
        yield from _between_samples(value, limits)
        return
    if value.explained_drift is None or value.explained_drift < limits["explained"]:
        return
    share = math.sqrt(value.explained_drift)
    disagreement = _lower_disagreement(value) * share
    if disagreement <= limits["disagreement"] and value.relative_rms * share <= limits["relative_rms"]:
        return
    top1, worst = value.top1_disagreement, _worst(context.report)
    where = f"; by itself, {worst.layer.name} drifts most ({_own(worst):.3g})" if worst is not None else ""
    answers = f", and the answer changes for {100 * top1:.1f}% of samples" if top1 is not None else ""
    yield FindingDraft(
        layers=(),
        text=f"output '{value.output}' differs by {value.relative_rms:.3g} of its RMS"
        f" between batch and running statistics (batch size {value.batch_size}){answers}{where}",
        remedy="Look at the layers with the largest local drift; --attribute ranks them by what they add to the gap.",
        evidence={
            "relative_rms": value.relative_rms,
            "top1_disagreement": top1,
            "explained_drift": value.explained_drift,
            "batch_size": value.batch_size,
            "worst_layer": None if worst is None else worst.layer.name,
            "worst_own_drift": None if worst is None else _own(worst),
        },
        confidence="medium",
    )


def _of_samples(report: Report) -> bool:
    """Whether the layers that store statistics are InstanceNorms, which were trained with those of each sample."""
    return {each.layer.kind for each in report.layers if each.drift is not None} == {"instance_norm"}


def _between_samples(value: Gap, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    if _lower_disagreement(value) <= limits["disagreement"] and value.relative_rms <= limits["relative_rms"]:
        return
    top1 = value.top1_disagreement
    answers = "" if top1 is None else f", and the answer changes for {100 * top1:.1f}% of samples"
    yield FindingDraft(
        layers=(),
        text=f"output '{value.output}' differs by {value.relative_rms:.3g} of its RMS between the statistics of each "
        f"sample, as in training, and running statistics{answers}",
        remedy=EACH_BY_ITSELF,
        evidence={"relative_rms": value.relative_rms, "top1_disagreement": top1, "of_samples": "yes"},
    )


def _worst(report: Report) -> LayerMetrics | None:
    """The layer with the largest local drift."""
    return max((each for each in report.layers if each.own is not None), key=_own, default=None)


def _own(metrics: LayerMetrics) -> float:
    return metrics.own.corrected if metrics.own is not None else 0.0


def _lower_disagreement(value: Gap) -> float:
    """Lower end of the 2-sigma interval of a proportion; 0 where the output has no classes."""
    p = value.top1_disagreement or 0.0
    return max(p - 2.0 * math.sqrt(p * (1.0 - p) / max(value.samples, 1)), 0.0)
