"""ND303: the input is not prepared as in training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from normdiag.records import Drift, LayerMetrics
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.dropouts import shifted
from normdiag.rules.rule import FindingDraft, is_measured, rule

# What one preparation of images in place of another does to their spread. 0.226 is the mean of ImageNet's three
# standard deviations in units of the full range.
FACTORS = {
    255.0: "0..255 in place of 0..1",
    1 / 255: "0..1 in place of 0..255",
    255 * 0.226: "0..255 in place of mean and standard deviation",
    0.226: "0..1 in place of mean and standard deviation",
    1 / 0.226: "mean and standard deviation in place of 0..1",
    2 * 0.226: "-1..1 in place of mean and standard deviation",
    0.5 / 0.226: "mean and standard deviation in place of -1..1",
    2.0: "-1..1 in place of 0..1",
    0.5: "0..1 in place of -1..1",
    127.5: "0..255 in place of -1..1",
}
LIKENESS = 1.15
MIN_CHANNELS = 4


@rule("ND303", "input-preparation", "warning", drift=0.5, spread=0.25, far=10.0)
def input_preparation(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """The first BatchNorm drifts in the way of an input that is scaled or shifted otherwise than in training.

    What it means: between the input and the first BatchNorm lies, as a rule, one convolution. An input that is scaled
    by a factor then arrives with that factor in the standard deviation of every channel alike; a constant added to it
    moves the means and leaves every deviation as it was. Statistics that do not belong to their weights differ in
    another way in each channel. ND301 says which layer is off, this rule that the cause lies before the model.

    When it fires: the first layer's drift is above 0.5 (limit `drift`, as in ND301), no later layer has an local drift
    above it, and the ratios of observed to stored deviation agree over the channels, within a factor of e^0.25 in
    standard deviation (limit `spread`). On ResNet20 that spread is 0.08 to 0.14 for wrong scales and shifts, 0.46 for
    the statistics of another net. Above 10 standard deviations (limit `far`) it fires without such agreement, for
    statistics of images do not get so far by themselves: a mean in the wrong units does that.

    What it cannot see: swapped colour channels (a drift of 0.31 against 0.22 on ResNet20), a flip, a wrong crop,
    a mean that is off by a few percent; a second input. And what it cannot tell apart: darker or flatter images than
    in training, or a first layer whose statistics alone are scaled as a whole, look the same. With batches of one
    sample, no later layer can be cleared.

    How to fix it: prepare the input as in training: scale, mean, std, channel order (`--preprocess`). Where a usual
    mix-up has the factor that was found, the finding names it.

    Silent on random data, for layers that normalize with their batch (ND201), with fewer than four channels, and where
    the graph shows a dropout before the layer that can make its deviations as small as they are; most
    exports show none.

    Source: linearity of the convolution; Ioffe and Szegedy 2015, section 3.2.
    """
    report = context.report
    if not is_measured(report):
        return
    rows = [each for each in report.layers if each.drift is not None and not uses_batch(each.layer, report.model)]
    if not rows or any(each.own is not None and each.own.lower > limits["drift"] for each in rows[1:]):
        return
    first, seen = rows[0], rows[0].own or rows[0].drift
    scaling = _scaling(first, seen) if seen is not None and seen.lower > limits["drift"] else None
    dropout = shifted(context.graph).get(first.layer.name)
    if seen is None or scaling is None or (dropout is not None and dropout.explains(first)):
        return
    if scaling.spread <= limits["spread"]:
        yield _draft(first, seen, scaling, _told(scaling))
    elif seen.lower > limits["far"]:
        yield _draft(first, seen, scaling, "no stored statistics are so far off by themselves")


@dataclass(frozen=True)
class Scaling:
    """Observed over stored standard deviation: the median over the channels, and the deviation of its logarithm."""

    factor: float
    spread: float


def _scaling(metrics: LayerMetrics, seen: Drift) -> Scaling | None:
    """None with too few channels that vary, in training and now."""
    layer = metrics.layer
    if layer.running_var is None or layer.eps is None:
        return None
    var = np.asarray(layer.running_var, np.float64)
    now = seen.r**2 * (var + layer.eps) - layer.eps
    alive = (var > 10 * layer.eps) & (now > 0)
    if np.count_nonzero(alive) < MIN_CHANNELS:
        return None
    ratio = 0.5 * np.log(now[alive] / var[alive])
    return Scaling(math.exp(float(np.median(ratio))), float(np.std(ratio)))


def _told(scaling: Scaling) -> str:
    if 1 / LIKENESS < scaling.factor < LIKENESS:
        return "its channels vary as they did in training but lie elsewhere, as if a constant were added to the input"
    usual = min(FACTORS, key=lambda factor: abs(math.log(scaling.factor / factor)))
    alike = abs(math.log(scaling.factor / usual)) < math.log(LIKENESS)
    guess = f" (as {FACTORS[usual]} would)" if alike else ""
    return f"all of its channels vary {scaling.factor:.3g} times as much as in training{guess}"


def _draft(metrics: LayerMetrics, seen: Drift, scaling: Scaling, told: str) -> FindingDraft:
    name = metrics.layer.name
    return FindingDraft(
        layers=(name,),
        text=f"the input does not seem to be prepared as in training: {told}",
        remedy="Prepare the input as in training: scale, mean, std and channel order (--preprocess).",
        evidence={"factor": scaling.factor, "spread": scaling.spread, "drift": seen.corrected},
        confidence="medium",
    )
