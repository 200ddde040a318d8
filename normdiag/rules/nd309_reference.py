"""ND309: what the model sees has moved from the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

if TYPE_CHECKING:
    from normdiag.records.reference import PointDrift

PREPARE = "Prepare the input as for the reference; or look at samples of both beside each other."
OUTPUT_ALONE = (
    "What enters the layers is as in the reference: compare the last layers of the two models (normdiag diff), what is "
    "done to their output, and the mix of classes."
)


@rule("ND309", "reference-drift", "warning", drift=0.05, error=0.5)
def reference_drift(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """What enters the layers of a model is not what it was when the reference was made.

    What it means: drift at a point is the root mean square, over the channels, of d = sqrt(z^2 + (r - 1)^2): how far
    mean and deviation of what is there have moved, in standard deviations of the reference (`--reference`, a file that
    `normdiag profile` wrote). It needs no running statistics, and so reports LayerNorm, GroupNorm, RMSNorm,
    InstanceNorm and folded models alike. The rule fires where the lower end of the 2-sigma interval, in which the
    errors of both sides are, is above the limit.

    Why it matters: a wrong preparation of the input, another order of its channels or columns, or data of another kind
    cost accuracy, and nothing else says so where no statistics are stored.

    Why 0.05: on held-out data prepared as in training the lower end stayed below, in whatever samples were drawn;
    wrong inputs that cost more than two points of accuracy gave more nearly always (docs/profile.md). From 0.5 on
    (limit `error`) it is an error, unless no output has moved: a norm may cancel what entered it.

    Which point: the first in the order of the network is named first. The input itself means scale, mean or order of
    its channels; a later one with the input unmoved means its content: order of columns, orientation, size, noise. An
    output alone means the model: another last layer, an export that does less or more to its outputs, or other classes.

    How to fix it: prepare the input as for the reference; else look at samples of both beside each other. If the new
    data is right, make a new reference.

    Silent without `--reference`, and on random data.

    Source: the 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982); Rabanser et al. 2019, Failing loudly.
    """
    if context.report.reference is None or context.report.data is None or context.report.data.random:
        return
    points = context.report.reference.points
    moved = [each for each in points if each.drift.lower > limits["drift"]]
    lost = [each.point.name for each in points if not math.isfinite(each.drift.rms)]
    if moved:
        yield _moved(moved, limits["error"])
    if lost:
        yield FindingDraft(
            layers=tuple(lost),
            text="holds values that are not finite, which the reference does not",
            remedy="Find the first of them, and what enters it.",
            severity="error",
        )


def _moved(moved: Sequence[PointDrift], error: float) -> FindingDraft:
    most = max(moved, key=lambda each: each.drift.lower)
    drift, reaches = most.drift, any(each.point.role == "output" for each in moved)
    where = f" (at '{most.point.name}')" if len(moved) > 1 else ""
    return FindingDraft(
        layers=tuple(dict.fromkeys(each.point.name for each in moved)),
        text=f"moved from the reference, by up to {drift.corrected:.3g} ± {drift.se:.2g} standard deviations{where}",
        remedy=PREPARE if any(each.point.role != "output" for each in moved) else OUTPUT_ALONE,
        evidence={"drift": drift.corrected, "se": drift.se, "points": len(moved), "first": moved[0].point.name},
        severity="error" if drift.lower > error and reaches else None,
    )
