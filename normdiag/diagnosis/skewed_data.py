"""skewed_data: data of one kind only, or the same few samples again and again."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.records import DataInfo, Gap

# Of the classes that the model can answer with, the part that it does: 1 / sum of squared shares over their number.
# Data of all classes in equal parts, rightly answered, has 1.
FEW_ANSWERS, FEWEST_CLASSES = 0.35, 4
# Of the samples, the part that differs from all before.
FEW_DISTINCT, FEWEST_SAMPLES = 0.5, 16


@cause("skewed_data", action="use_more_data", rivals="drift")
def skewed_data(seen: Seen) -> Case | None:
    """The data is of one or a few classes, or holds the same few samples: its statistics are not those of training.

    What it means: the first images of a folder that is sorted by class are of one class. Their statistics differ from
    those of all classes, in the later layers most, and nothing is wrong with the model.

    How it is told: the model answers with few of its classes, and with the data's own statistics it would be less
    decided, which it would not be if the stored ones were wrong. Or most samples are copies of others.

    What to do: give data of all classes, in random order, or more of it. Recalibrating on such data would do harm.

    Source: Nado et al. 2020, Evaluating Prediction-Time Batch Normalization, section 5 (label shift).
    """
    if not seen.drifting or seen.report.data is None:
        return None
    reason = _copies(seen.report.data) or (_one_sided(seen.report.gap) if seen.decided < -2.0 else None)
    if reason is None:
        return None
    return Case(
        (),
        0.97,
        "The data is too one-sided to judge the statistics by.",
        reason,
        ON_DATA,
        confidence="medium",
        severity="info",
    )


def _copies(data: DataInfo) -> str | None:
    if data.distinct is None or data.samples < FEWEST_SAMPLES or data.distinct > FEW_DISTINCT * data.samples:
        return None
    return f"only {data.distinct} of {data.samples} samples are distinct"


def _one_sided(gap: Gap | None) -> str | None:
    if gap is None or gap.classes is None or gap.answered is None or gap.classes < FEWEST_CLASSES:
        return None
    if gap.answered > FEW_ANSWERS * min(gap.classes, gap.samples):
        return None
    return (
        f"the model answers with {gap.answered:.1f} of its {gap.classes} classes, in effect, and would be less decided "
        "with the data's own statistics"
    )
