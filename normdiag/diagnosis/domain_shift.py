"""domain_shift: the data is of another kind than that of training."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.against import against
from normdiag.diagnosis.evidence.prepared import of_another_kind
from normdiag.diagnosis.evidence.seen import Seen


@cause("domain_shift", action="check_training_data", rivals="drift", fault="data")
def domain_shift(seen: Seen) -> Case | None:
    """The data is not like that of training: other sensors, noise, compression, crops, missing values.

    What it means: the model and its statistics are right, for other data. Noise, blur, recompression, another zoom or
    orientation, and values that are missing change what every layer sees.

    How it is told: deviations are off in the first layer and after it while means hardly move, or move as the weights
    let an input move them, which they would not do if weights had changed; the data excites the later features less
    than the statistics say; and no way of preparing the input undoes it. The data's own statistics change answers and
    give none back: answers hardly become more decided by it or, by labels, no more often right. With `--reference`:
    the input has the mean and deviation that it had, and what the layers see has not.

    What to do: look at a few samples of both beside each other, then train on data like this or bring the data to what
    the training saw. Recalibrating on such data sometimes helps, sometimes harms: measure it.

    Source: Schneider et al. 2020, Improving robustness against common corruptions by covariate shift adaptation,
    section 3; Hendrycks and Dietterich 2019.
    """
    known = against(seen)
    if known is not None and (known.moved or known.alike):
        return of_another_kind(known)
    if not seen.drifting or not (seen.answers_other_data or (seen.from_input and not seen.excited)):
        return None
    first = seen.rows[0]
    return Case(
        (first.name,),
        0.5,
        "The data is not like that of training.",
        f"deviations are off from '{seen.drifting[0].name}' on, by up to {max(row.off for row in seen.rows):.2g} "
        f"standard deviations, while the means make up {seen.mean_part:.0%} of it",
        ON_DATA,
        confidence="medium",
        alternatives=("input_preparation",),
        test="--train-data: drift on training data means the statistics, none the data",
    )
