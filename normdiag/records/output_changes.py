"""What other statistics change at the outputs: the gap, what recalibration would change, and which layer makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribution:
    """How much of the gap goes when the data's statistics replace the stored ones in this layer alone (1 = all)."""

    layer: str
    removed: float


@dataclass(frozen=True)
class OutputChange:
    """One output under some statistics (y) and under others (y'), each figure with its standard error.

    Where batch statistics are one of the two, batches are the independent unit, and a single one has no error.
    `relative_rms` = sqrt(sum (y' - y)^2 / sum y^2). `answers_changed` (share of samples whose argmax differs),
    `js_divergence` (nats, mean over samples) and `decided` exist for (N, K) outputs. The latter is by how much more the
    best class stands out in y' than in y: best less second best score in standard deviations over the classes, mean
    over samples. Statistics that fit make a classifier decided.
    """

    relative_rms: float
    relative_rms_se: float | None
    answers_changed: float | None = None
    answers_changed_se: float | None = None
    js_divergence: float | None = None
    js_divergence_se: float | None = None
    decided: float | None = None
    decided_se: float | None = None


@dataclass(frozen=True)
class Labelled:
    """How right the answers to `samples` samples are, by their labels: with the stored and the data's own statistics.

    `accuracy` holds both shares, `newly` how many samples are right that were wrong, and wrong that were right.
    `classes` is how many classes the labels are of, in effect: 1 / sum p^2 over their shares p.
    """

    samples: int
    accuracy: tuple[float, float]
    newly: tuple[int, int]
    classes: float


@dataclass(frozen=True)
class Recalibration:
    """What replacing all stored statistics of BatchNorm by the data's own would do, measured on `samples` samples.

    `change`: an output as deployed against the same with the data's statistics, both in eval mode. `noise`: the latter
    against batch statistics, that is what the chance of batches of `batch_size` samples does. `answered` is how many
    classes the model answers with then, in effect, as in Gap. `labelled` is there where labels lie beside the data.
    The errors of RMS and divergence in `change` hold for other samples with their own statistics, from 4 batches on;
    all others are over the samples that it is measured on, with the replaced statistics fixed.
    """

    output: str
    samples: int
    batch_size: int
    change: OutputChange
    noise: OutputChange
    answered: float | None = None
    labelled: Labelled | None = None


@dataclass(frozen=True)
class Gap:
    """Outputs under batch statistics against those under running statistics, for the output that differs most.

    `relative_rms` = sqrt(sum (y' - y)^2 / sum y^2). `top1_disagreement` and `js_divergence` (nats, mean over samples)
    exist for (N, K) outputs. `explained_drift` is the share of the squared difference that goes when the data's own
    statistics replace the stored ones, `explained_noise` what is left, the chance of batches: both measured, and None
    where nothing drifts and so nothing was replaced; `explained_se` is the standard error of either. `attribution` is
    ranked, largest first. `classes` is K, and `answered` how many of them the deployed model answers with, in effect:
    1 / sum p^2 over their shares p.
    """

    output: str
    relative_rms: float
    top1_disagreement: float | None
    js_divergence: float | None
    batch_size: int
    samples: int
    explained_drift: float | None
    explained_noise: float | None
    attribution: tuple[Attribution, ...] | None = None
    relative_rms_se: float | None = None
    top1_disagreement_se: float | None = None
    js_divergence_se: float | None = None
    explained_se: float | None = None
    classes: int | None = None
    answered: float | None = None
