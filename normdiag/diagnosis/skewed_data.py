"""skewed_data: data of one kind only, or the same few samples again and again."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.answer_change import SURELY_RIGHT
from normdiag.diagnosis.evidence.seen import Seen, geometric_mean
from normdiag.records import DataInfo, Gap

# Of the classes that the model can answer with, the part that it does: 1 / sum of squared shares over their number.
# Data of all classes in equal parts, rightly answered, has 1.
FEW_ANSWERS, FEWEST_CLASSES = 0.5, 4
# What wrong statistics and weights do as well is answer with few classes; but then means are off, and by more.
MEANS, LEAST_MEANS, MOST_DRIFT, RELATED = 0.6, 0.15, 1.2, 0.6
LEAST_SAMPLES = 0.6
# Classes show in the later layers, or in the means of the first.
DEEPER, OF_MEANS = 1.3, 0.3
# Of the samples, the part that differs from all before.
FEW_DISTINCT, FEWEST_SAMPLES = 0.5, 16


@cause("skewed_data", action="use_more_data", rivals="drift", fault="data")
def skewed_data(seen: Seen) -> Case | None:
    """The data is of one or a few classes, or holds the same few samples: its statistics are not those of training.

    What it means: the first images of a folder that is sorted by class are of one class. Their statistics differ from
    those of all classes, in the later layers most, and nothing is wrong with the model.

    How it is told: the model answers with few of its classes, and with the data's own statistics it would be less
    decided, which it would not be if the stored ones were wrong; never where means moved as no input can move them.
    Labels beside the data say it themselves. Or most samples are copies of others.

    What to do: give data of all classes, in random order, or more of it. Recalibrating on such data would do harm.

    Source: Nado et al. 2020, Evaluating Prediction-Time Batch Normalization, section 5 (label shift).
    """
    if not seen.drifting or seen.report.data is None:
        return None
    reason = _copies(seen.report.data) or _of_few_classes(seen)
    if reason is None:
        return None
    return Case(
        (),
        0.98 if _copies(seen.report.data) else 0.84,
        "The data is too one-sided to judge the statistics by.",
        reason,
        ON_DATA,
        confidence="medium",
        severity="info",
    )


def _of_few_classes(seen: Seen) -> str | None:
    """By the labels where there are any, else by the answers."""
    if seen.contradicted or (seen.reached is not None and seen.reached.mismatch):
        return None  # means moved as no data moves them
    labels, gap = seen.answers.labelled, seen.report.gap
    if labels is None or gap is None or not gap.classes:
        return _one_sided(gap, seen.answers.decided) if _of_data(seen) else None
    few = gap.classes >= FEWEST_CLASSES and labels.classes < FEW_ANSWERS * min(gap.classes, labels.samples)
    if not few or (seen.answers.regained or 0.0) > SURELY_RIGHT:
        return None
    return (
        f"the labels of the data are of {labels.classes:.1f} of {gap.classes} classes, in effect, and no more answers "
        "would be right with the data's own statistics"
    )


def _of_data(seen: Seen) -> bool:
    """Whether the drift can come from data: of the right weights, and no larger than classes make it."""
    first = seen.rows[0].correlations
    middle, spread = seen.rows[0].log_ratio
    if abs(middle) > 2.0 * spread and seen.rows[0].off > 0.2:
        return False  # all channels alike: a change of the input
    of_classes = seen.rows[0].mean_square > OF_MEANS * seen.rows[0].off ** 2
    if not of_classes and max((row.off for row in seen.later), default=0.0) < DEEPER * seen.rows[0].off:
        return False  # noise, blur and compression change the first layer most, and no means
    if max(row.mean_square for row in seen.rows) < LEAST_MEANS**2 * max(row.off for row in seen.rows) ** 2:
        return False  # classes differ in their means somewhere
    sizes = [row.samples for row in seen.drifting if row.samples]
    if sizes and geometric_mean(sizes) < LEAST_SAMPLES:
        return False  # a class lies within the scatter of single samples
    if seen.mean_part > MEANS or seen.odd_affine or (first is not None and first[1] < RELATED):
        return False
    return max(row.off for row in seen.rows) < MOST_DRIFT


def _copies(data: DataInfo) -> str | None:
    if not data.distinct or data.samples < FEWEST_SAMPLES or data.distinct > FEW_DISTINCT * data.samples:
        return None
    return f"only {data.distinct} of {data.samples} samples are distinct"


def _one_sided(gap: Gap | None, decided: float) -> str | None:
    if gap is None or gap.classes is None or gap.answered is None or gap.classes < FEWEST_CLASSES:
        return None
    share = gap.answered / min(gap.classes, gap.samples)
    if share > FEW_ANSWERS or decided > (-1.0 if share < FEW_ANSWERS / 1.5 else -4.0):
        return None
    return (
        f"the model answers with {gap.answered:.1f} of its {gap.classes} classes, in effect, and would be less decided "
        "with the data's own statistics"
    )
