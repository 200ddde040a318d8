"""ND301: the data's statistics are not the stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from normdiag.records import LayerMetrics
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.dropouts import shifted
from normdiag.rules.rule import FindingDraft, rule

PREPARATION = "Check that the input is prepared as in training (scale, mean, std, channel order)."
BUFFERS = "Recalibrate the statistics on training data; check that the buffers belong to these weights."
DROPOUT = (
    "Put the dropout before it (ND204) after the last BatchNorm, or recalibrate with the dropout off; then look "
    "for other causes."
)


@rule("ND301", "drift", "error", drift=0.5, alone=0.2, times=5.0, means=0.25)
def drift(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A BatchNorm layer's stored statistics are not those of the data: off by half a standard deviation, or alone.

    What it means: drift is the root mean square, over the channels, of d = sqrt(z^2 + (r - 1)^2): how far the layer's
    output is off, in stored standard deviations, because the stored mean and variance are not those of this data. The
    rule fires where the lower end of the 2-sigma interval is above the limit (0.5).

    Why 0.5: healthy networks on data without their training augmentation show 0.1 to 0.4 (ResNet20 on CIFAR-10: 0.12
    in the median, 0.24 at most); input scaled to [0,1] instead of normalized gives 0.6, and 0..255 over 40.

    Less is a warning where one layer stands alone: the lower ends of its drift and of its local drift are above 0.2
    (limit `alone`), and the latter is at least five times (limit `times`) the local drift of every other layer. Data
    unlike that of training moves the layers together, or the first one: on brighter, flatter, noisy, blurred, cut or
    mirrored images, and in nets trained with strong augmentation or with a dropout of 0.5 before a norm (ND204),
    no later layer was beyond 2.4 times all others. So the first layer never counts as alone.

    Means are another matter: with batch statistics in the layers before, the mean of a later layer's input follows from
    the weights, whatever the data. Where they are off by more than 0.25 (limit `means`; the lower end of their
    interval) in a layer after the first, and no layer passes the other limits, it is a warning. In healthy networks it
    is 0.06 at most, trained with strong augmentation 0.1; images of one class alone move the last layers by more.

    Which layer: those are named that drift with batch statistics in all layers before them (their local drift). Layers
    that drift only because of one before are counted, not named. Where none drifts so by itself, small drift has grown
    on its way: of the layers up to the first that is off, the one with the largest local drift is named. Where that
    could not be measured, the first is named. Both with medium confidence.

    How to fix it: if the first layer alone is named, check the preprocessing before anything else. If a later one, its
    statistics do not belong to its weights: averaged weights, a wrong checkpoint, fine-tuning with frozen statistics.
    Recalibrate on training data, and measure the accuracy before and after. Where the deviations are smaller than the
    stored ones, and a dropout before it can be the reason, that comes first (ND204).

    Silent on random data, and for layers that do not use their statistics (ND201).

    Source: the 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982).
    """
    if context.report.data is None or context.report.data.random:
        return
    limit = limits["drift"]
    used = [each for each in context.report.layers if not uses_batch(each.layer, context.report.model)]
    measured = [each for each in used if each.drift is not None]
    drifting = [each for each in measured if each.drift is not None and each.drift.lower > limit]
    causes = [each for each in drifting if each.own is not None and each.own.lower > limit]
    surely = bool(causes)
    causes = causes or _likeliest(measured, drifting)
    if not drifting:
        alone = list(_standing_alone(measured, limits["alone"], limits["times"]))
        yield from alone or _of_means(measured, limits["means"])
    dropouts = shifted(context.graph)
    for index, each in enumerate(causes):
        inherited = sum(other not in causes for other in drifting) if index == 0 else 0
        alone_at_the_input = each is measured[0] and len(causes) == 1
        remedy = PREPARATION if alone_at_the_input else BUFFERS
        if (dropout := dropouts.get(each.layer.name)) is not None and dropout.explains(each):
            remedy = DROPOUT
        yield _draft(each, inherited, remedy, surely=surely)


def _likeliest(measured: list[LayerMetrics], drifting: list[LayerMetrics]) -> list[LayerMetrics]:
    """Of the layers up to the first that drifts, the one that does most by itself; of equal ones the last."""
    if not drifting:
        return []
    before = measured[: measured.index(drifting[0]) + 1]
    owns = {index: each.own.corrected for index, each in enumerate(before) if each.own is not None}
    return [before[max(owns, key=lambda index: (owns[index], index))]] if owns else drifting[:1]


def _standing_alone(measured: Sequence[LayerMetrics], least: float, times: float) -> Iterator[FindingDraft]:
    """The layer after the first whose local drift is surely larger than any other's, by far."""
    owns = [(each, each.own) for each in measured if each.own is not None and np.isfinite(each.own.rms)]
    if len(owns) < 2:
        return
    worst, value = max(owns, key=lambda item: item[1].lower)
    others = [own for each, own in owns if each is not worst]
    largest = max(own.corrected for own in others)
    quiet = max(own.upper for own in others)
    deployed = worst.drift.lower if worst.drift is not None else 0.0
    if worst is measured[0] or value.lower <= max(times * largest, quiet) or min(value.lower, deployed) <= least:
        return
    name = worst.layer.name
    yield FindingDraft(
        layers=(name,),
        text=f"stored statistics are off by {value.corrected:.3g} ± {value.se:.2g} standard deviations, "
        f"those of the other layers by {largest:.2g} at most",
        remedy="Check that the buffers belong to these weights, and for a dropout before; or recalibrate on training "
        "data.",
        evidence={"own_drift": value.rms, "se": value.se, "next": largest, "worst_channel": value.max_channel},
        severity="warning",
        confidence="medium",
    )


def _of_means(measured: Sequence[LayerMetrics], least: float) -> Iterator[FindingDraft]:
    """The layers after the first whose means no data could move so far."""
    for each in measured[1:]:
        if each.own is None or each.drift is None or each.drift.lower <= least:
            continue
        means = each.own.over_z
        if not means.rms - 2.0 * means.rms_se > least:
            continue
        yield FindingDraft(
            layers=(each.layer.name,),
            text=f"stored means are off by {means.rms:.3g} ± {means.rms_se:.2g} standard deviations, "
            "with batch statistics in the layers before",
            remedy=BUFFERS,
            evidence={"means": means.rms, "se": means.rms_se, "own_drift": each.own.rms},
            severity="warning",
            confidence="medium",
        )


def _draft(metrics: LayerMetrics, inherited: int, remedy: str, *, surely: bool) -> FindingDraft:
    value = metrics.drift
    assert value is not None  # only layers with a measured drift come here
    name = metrics.layer.name
    others = f"; {inherited} more layers inherit it" if inherited > 1 else "; 1 more layer inherits it" * inherited
    return FindingDraft(
        layers=(name,),
        text=f"stored statistics are off by {value.corrected:.3g} ± {value.se:.2g} standard deviations{others}",
        remedy=remedy,
        evidence={
            "drift": value.rms,
            "se": value.se,
            "own_drift": metrics.own.rms if metrics.own is not None else None,
            "worst_channel": value.max_channel,
            "inherited_by": inherited,
        },
        confidence="high" if surely else "medium",
    )
