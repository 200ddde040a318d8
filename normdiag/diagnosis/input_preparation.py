"""input_preparation: the input is scaled, shifted or ordered otherwise than in training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from normdiag.data.recipe import PRESETS, parse_recipe
from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.against import against
from normdiag.diagnosis.evidence.prepared import prepared_otherwise
from normdiag.diagnosis.evidence.seen import Seen

if TYPE_CHECKING:
    from normdiag.records.preparation import Preparations, RankedPreparation

# Of log(observed / stored deviation) at the first layer: its spread over the channels beside its size.
UNIFORM = 0.35
# Of the drift as it is fed now, what a preparation may leave that people use, and one that was fitted.
LESS, FAR_LESS = 0.5, 0.25
# With the right preparation, what the data's own statistics may still change, and the entropy of answers beside ln K.
MOST_CHANGED, MOST_ENTROPY = 0.05, 0.4
AUGMENTED = 0.2
BY_HAND = (
    "Compare how the input is prepared with how it was in training: scale, mean, deviation, order of channels and "
    "columns, units, size."
)
TRAINING = "--train-data: drift on training data means the statistics, none the input"
# Missing values and noise change the deviation by a third, as a scale would.
LEAST_SCALE = 0.5
# Factors that mixed-up scales have.
USUAL = (255.0, 1 / 255, 127.5, 1 / 127.5, 2.0, 0.5, 32768.0, 1 / 32768)


@cause("input_preparation", action="fix_input", rivals="drift")
def input_preparation(seen: Seen) -> Case | None:
    """The input is not prepared as in training: another scale, mean, deviation or order of channels.

    What it means: 0..255 in place of 0..1, another mean and standard deviation, BGR for RGB, columns in other units.
    The model is right and gets values that it has never seen.

    How it is told: the first layer drifts and the later ones hardly do, since the first, with the data's own
    statistics, cancels a change of scale and shift. A factor stands in the deviation of all its channels alike.
    With `--reference` it is told by the input itself, whatever norms the model has: its mean and deviation have moved.

    What to do: prepare the input as in training (`--preprocess`). `normdiag preprocess` ranks the usual ways.

    What looks the same: statistics that were taken on inputs prepared in that other way. `--train-data` tells.

    Source: linearity of the convolution; Ioffe and Szegedy 2015, section 3.2.
    """
    known = against(seen)
    if known is not None and (known.moved or known.alike):
        return prepared_otherwise(seen.report, known)
    return _of_statistics(seen) if seen.rows else None


def _of_statistics(seen: Seen) -> Case | None:
    """What the stored statistics say."""
    tried = seen.report.preparations
    if (
        tried is not None
        and not seen.mismatch(seen.rows[0])
        and tried.better is not None
        and _restores(seen, tried, tried.better)
    ):
        return _undone(seen, tried, tried.better)
    first = seen.rows[0]
    if first not in seen.loud or seen.mismatch(first) or seen.fault == "statistics":
        return None
    if (seen.excited and not seen.first_alone) or _of_means_alone(seen):
        return None
    middle, spread = first.log_ratio
    uniform = spread < UNIFORM * abs(middle) or (spread < 0.12 and first.mean_square > 0.3 * first.off**2)
    if not seen.first_alone and not (uniform and first.off > 2.0 * max((row.off for row in seen.later), default=0.0)):
        return None
    factor = math.exp(middle)
    scale = _pure_scale(seen) if uniform and seen.first_alone else None
    return Case(
        (first.name,),
        0.8 if uniform else 0.55,
        "The input is not prepared as in training.",
        f"values reach '{first.name}' {_times(factor)} as widely spread as its stored statistics and shifted by "
        f"{first.mean_square**0.5:.2g} standard deviations{_later(seen)}",
        ON_DATA,
        confidence="high" if uniform and seen.first_alone else "medium",
        alternatives=_alike(seen, scale) if uniform and seen.first_alone else ("domain_shift",),
        test=TRAINING,
        action="fix_input" if scale is not None else "check_training_data",
        remedy=BY_HAND if scale is None else "",
        option=None if scale is None else _rescaled(seen, scale),
    )


def _restores(seen: Seen, tried: Preparations, better: RankedPreparation) -> bool:
    """Whether the model is as it should be with this preparation: hardly any drift, and answers that are its own.

    Other data, fed in some other way, may come nearer to the statistics and is still not what the features respond to.
    """
    now = next((each for each in tried.ranking if each.option == tried.used), None)
    least = LESS if better.listed and better.answers_changed is not None else FAR_LESS
    if now is None or not better.drift < least * now.drift:
        return False
    if better.answers_changed is not None and better.answers_changed > _changed_at_most(better, now):
        return False
    classes = seen.report.gap.classes if seen.report.gap is not None else None
    return better.entropy is None or classes is None or better.entropy < MOST_ENTROPY * math.log(max(classes, 2))


def _later(seen: Seen) -> str:
    """How far the layers after it drift, where that is known."""
    return f"; the later layers drift by {max(row.off for row in seen.later):.2g} at most" if seen.later else ""


def _changed_at_most(better: RankedPreparation, now: RankedPreparation) -> float:
    """What the data's own statistics may change: more for a network that misses its augmentation on right data too."""
    far_better = better.drift < FAR_LESS * now.drift and now.answers_changed is not None
    return max(MOST_CHANGED, min(FAR_LESS * (now.answers_changed or 0.0), AUGMENTED) if far_better else 0.0)


def _undone(seen: Seen, tried: Preparations, better: RankedPreparation) -> Case:
    """Another preparation of the same samples fits, and surely better than the one in use."""
    now = next((each.drift for each in tried.ranking if each.option == tried.used), math.nan)
    return Case(
        (seen.rows[0].name,),
        0.95,
        "The input is not prepared as in training.",
        f"prepared otherwise ({better.meaning}), the first norm layers drift by {better.drift:.2g} in place of "
        f"{now:.2g}" + ("" if better.entropy is None else ", and the answers are surer"),
        ON_DATA,
        confidence="high" if tried.best is not None and better.listed else "medium",
        alternatives=() if better.listed else _instead(seen),
        test="" if better.listed else TRAINING,
        action="fix_input",
        option=better.option,
    )


def _instead(seen: Seen) -> tuple[str, ...]:
    """What looks like an input that nobody prepares so: statistics of such inputs, or in another unit."""
    power = seen.rows[0].power
    scaled = power is not None and (power.power, power.sign) == (1.0, 1) and power.left < 0.06
    return ("wrong_convention",) if scaled else ("stale_statistics",)


def _alike(seen: Seen, scale: float | None) -> tuple[str, ...]:
    """What looks the same: variances in another unit, or statistics of inputs that were prepared so."""
    if scale is None:
        return ("stale_statistics",)
    power = seen.rows[0].power
    same = power is not None and (power.power, power.sign) == (1.0, 1) and power.left < 0.06
    return ("wrong_convention",) if same else ()


def _of_means_alone(seen: Seen) -> bool:
    """Whether means are off in the later layers too and no deviation is: a bias that was lost, which no data does."""
    middle, spread = seen.rows[0].log_ratio
    later = any(row in seen.drifting for row in seen.later)
    return later and seen.mean_part > 0.8 and abs(middle) < 0.05 and spread < 0.05


def _pure_scale(seen: Seen) -> float | None:
    """The factor of the input, where a factor alone explains the first layer.

    Its means then follow its deviations, but for what is a bias of the layer before it.
    """
    first, known = seen.rows[0], seen.rows[0].statistics
    middle, spread = first.log_ratio
    if known is None or spread > max(0.05, 2.0 * known.noise_of_ratio**0.5):
        return None
    factor = math.exp(middle)
    ends = np.sort([known.mean, factor * known.mean], axis=0)  # of a mean that is a bias, and of one without any
    beyond = np.maximum(np.maximum(ends[0] - known.observed_mean, known.observed_mean - ends[1]), 0.0)
    if float(np.mean(beyond**2 / known.observed_var)) > max(0.002, 4.0 * known.noise):
        return None
    usual = [each for each in USUAL if abs(math.log(each / factor)) < 0.04]
    return usual[0] if usual else factor if abs(middle) > LEAST_SCALE else None


def _rescaled(seen: Seen, factor: float) -> str | None:
    """This run's preparation with its outcome divided by a factor, as an option of `--preprocess`."""
    given = seen.report.data.preprocess if seen.report.data is not None else None
    plain = (given or "raw").partition(" (")[0]
    recipe = parse_recipe(plain)
    scale = recipe.scale
    if scale is None:
        scale = 1 / 255 if given is not None and not plain.startswith("raw") else 1.0
    for preset in ("unit", "raw"):
        known = PRESETS[preset]
        same = math.isclose(scale / factor, 1 / 255 if preset == "unit" else 1.0, rel_tol=1e-6)
        if same and recipe.mean == known.mean and recipe.std == known.std and recipe.order == "rgb":
            return preset
    mean = ":".join(f"{each / factor:.6g}" for each in recipe.mean)
    std = ":".join(f"{each:.6g}" for each in recipe.std)
    return f"scale={scale / factor:.6g},mean={mean},std={std},order={recipe.order}"


def _times(factor: float) -> str:
    return f"{factor:.3g} times"
