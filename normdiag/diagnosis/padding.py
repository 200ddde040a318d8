"""padding: part of each sample is empty."""

from __future__ import annotations

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.fits import Statistics
from normdiag.diagnosis.evidence.seen import Seen

# How nearly the channels must agree on the share, and how large their means have to be to tell it from a scale.
SPREAD, MEANS = 0.06, 0.1


@cause("padding", action="check_training_data", rivals="drift", fault="data")
def padding(seen: Seen) -> Case | None:
    """Part of every sample is zeros that were not there in training: sequences padded to a common length.

    What it means: BatchNorm takes its statistics over all positions, the padded ones included. Where the share of
    padding differs from training, all of them are off, and so are the values of the real positions.

    How it is told: with a share k of real positions and a layer without bias before the norm, the mean and the mean
    square of every channel are k times the stored ones, where another scale a would give a and a squared.

    What to do: batch sequences of like length, mask the padding in the norm, or pad as in training.

    Source: torch.nn.BatchNorm1d (statistics over N and L); Shen et al. 2020, PowerNorm, section 3.
    """
    if not seen.loud or seen.rows[0] not in seen.loud or seen.rows[0].statistics is None:
        return None
    share = _share(seen.rows[0].statistics)
    if share is None or not 0.05 < share < 0.95:
        return None
    return Case(
        (seen.rows[0].name,),
        0.84,
        f"About {1 - share:.0%} of the data is padding that was not there in training.",
        f"mean and mean square of all channels of '{seen.rows[0].name}' are {share:.2f} times the stored ones",
        ON_DATA,
        confidence="medium",
    )


def _share(seen: Statistics) -> float | None:
    """The share of real positions, where means and mean squares agree on one."""
    square = (seen.observed_var + seen.observed_mean**2) / (seen.var + seen.mean**2)
    share = float(np.median(square))
    if np.mean(seen.mean**2 / seen.var) < MEANS or np.median(np.abs(np.log(square / share))) > SPREAD:
        return None
    by_share = np.mean((seen.observed_mean - share * seen.mean) ** 2 / seen.var)
    by_scale = np.mean((seen.observed_mean - np.sqrt(share) * seen.mean) ** 2 / seen.var)
    return share if by_share < 0.25 * by_scale and by_share < 0.01 else None
