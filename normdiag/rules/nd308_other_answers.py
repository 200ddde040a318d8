"""ND308: with the data's own statistics the model answers otherwise, and more surely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from normdiag.records import Labelled, LayerMetrics, OutputChange, Recalibration
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule

REMEDY = "Recalibrate on training data, or prepare the input as in training."


@rule(
    "ND308",
    "other-answers",
    "warning",
    answers=0.01,
    decided=5.0,
    unsure=0.04,
    severe=0.1,
    many=0.2,
    means=0.1,
    outputs=0.1,
    right=3.5,
)
def other_answers(seen: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """With the data's own statistics in place of the stored ones, the model gives other answers, and not less surely.

    What it means: the model ran once more in eval mode, with the population statistics of this data in every BatchNorm.
    That the answers change says that the stored statistics matter here; that they become more decided (the best class
    stands out further from the others) says which of both are the right ones, without a label.

    When it fires: more than `answers` of the answers change and they become surely more decided, by `decided` standard
    errors; or, beyond two standard errors and what the chance of so many samples changes, more than `unsure` of them do
    without becoming surely less decided, or more than `many` in any case. Where means are surely off by `means`
    standard deviations in most layers after the first, `answers` beyond chance are enough: with batch statistics
    before them, those means depend on the weights alone and not on the data. An output without classes then has to
    change by `outputs` of its RMS, and by twice as much as it does from batch to batch.

    Labels beside the data (y in an .npz, a folder for each class) settle it: it fires where more answers are right, by
    `right` standard errors and by more than `answers`.

    Why these limits: on right data healthy networks become more decided by up to 2.2 standard errors, and
    change up to 2 % of their answers. With statistics that cost 2 points of accuracy it is 6 and more. On images of
    one class, or in a network that was fine-tuned with frozen statistics, far more change, and the answers become less
    decided: the stored statistics are the better ones, and the rule stays silent up to `many`. Where more than `severe`
    of the answers change and become surely more decided, it is an error.

    Why it matters: small drifts in all layers cost answers although none of them is large by itself.

    How to fix it: the diagnosis names the cause. Recalibrate on training data where statistics are to blame, prepare
    the input as in training where they are not.

    Silent on random data and where nothing drifts. Source: Nado et al. 2020, Evaluating
    Prediction-Time Batch Normalization for Robustness under Covariate Shift, section 4.
    """
    found = seen.report.recalibration
    if found is None or not is_measured(seen.report):
        return
    moved = _moved(seen.report.layers, limits["means"])
    if found.change.answers_changed is None:
        yield from _of_outputs(found, moved=moved, least=limits["outputs"])
        return
    if found.labelled is not None and (draft := _of_labels(found.labelled, limits)) is not None:
        yield draft
        return
    changed, decided, share = surely_changed(found), gained(found.change), found.change.answers_changed
    if not (share > limits["answers"] if decided > limits["decided"] else changed > limits[_limit(moved)]):
        return
    if decided < -limits["decided"] and changed <= limits["many"]:
        return
    of = f"of the answers to {found.samples} samples change"
    surely = "less surely" if decided < -limits["decided"] else "no less surely"
    surer = "and more surely" if decided > limits["decided"] else surely
    yield FindingDraft(
        layers=(),
        text=f"with the data's own statistics {100 * share:.1f}% {of}, {surer}",
        remedy=REMEDY,
        evidence={"answers_changed": share, "decided": found.change.decided, "samples": found.samples},
        severity="error" if decided > limits["decided"] and changed > limits["severe"] else "warning",
        confidence="high" if decided > limits["decided"] else "medium",
    )


def _of_labels(found: Labelled, limits: Mapping[str, float]) -> FindingDraft | None:
    """What labels of the data say: surely more answers are right with the data's own statistics."""
    before, after = found.accuracy
    error = math.sqrt(sum(found.newly)) / found.samples
    if surely_right(found) < limits["right"] or after - before - 2.0 * error < limits["answers"]:
        return None
    return FindingDraft(
        layers=(),
        text=f"with the data's own statistics {100 * after:.1f}% of the answers are right in place of "
        f"{100 * before:.1f}%, by the labels of {found.samples} samples",
        remedy=REMEDY,
        evidence={"accuracy": before, "accuracy_recalibrated": after, "samples": found.samples},
        severity="error" if after - before - 2.0 * error > limits["severe"] else "warning",
        confidence="high",
    )


def _limit(moved: bool) -> str:
    return "answers" if moved else "unsure"


def _of_outputs(found: Recalibration, *, moved: bool, least: float) -> Iterator[FindingDraft]:
    """Of a model whose output holds no classes, so that nothing says which statistics are the better ones."""
    size, error = found.change.relative_rms, found.change.relative_rms_se
    if not moved or error is None or not size - 2.0 * error > max(least, 2.0 * found.noise.relative_rms):
        return
    yield FindingDraft(
        layers=(),
        text=f"with the data's own statistics output '{found.output}' changes by {size:.2g} of its RMS, "
        "and means are off in most layers",
        remedy=REMEDY,
        evidence={"relative_rms": size, "samples": found.samples},
        confidence="medium",
    )


def _moved(layers: Sequence[LayerMetrics], least: float) -> bool:
    """Whether the means of most layers after the first are surely off, with batch statistics in those before."""
    later = [each.own.over_z for each in layers if each.own is not None][1:]
    off = [each for each in later if each.rms - 2.0 * each.rms_se > least]
    return len(later) > 1 and len(off) >= 0.6 * len(later)


def surely_changed(found: Recalibration) -> float:
    """The share of answers that change beyond two standard errors and the chance of so many samples; 0 if unknown."""
    change, noise = found.change, found.noise
    if change.answers_changed is None or not math.isfinite(change.answers_changed_se or math.inf):
        return 0.0
    by_chance = (noise.answers_changed or 0.0) * math.sqrt(min(found.batch_size / max(found.samples, 1), 1.0))
    return max(change.answers_changed - 2.0 * (change.answers_changed_se or 0.0) - by_chance, 0.0)


def surely_right(found: Labelled) -> float:
    """By how many standard errors more answers are right with the data's own statistics (McNemar 1947); 0 if none."""
    right, wrong = found.newly
    return (right - wrong) / math.sqrt(right + wrong) if right + wrong else 0.0


def gained(change: OutputChange) -> float:
    """By how many standard errors the answers become more decided; 0 if unknown."""
    if change.decided is None or not change.decided_se or not math.isfinite(change.decided_se):
        return 0.0
    return change.decided / change.decided_se
