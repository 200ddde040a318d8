"""ND304: noise that batch statistics add at the batch size of deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.metrics import batch_noise
from normdiag.records import LayerMetrics, Severity
from normdiag.rules.alike import alike
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule


@rule("ND304", "serving-noise", "warning", noise=0.13, severe=0.3)
def serving_noise(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """In batches of the size served, a layer that normalizes with its batch gives outputs that depend on chance.

    What it means: the statistics of b samples scatter about those of all data, and that moves the layer's output, at
    random, by the number given, in standard deviations. It is measured on the batches of the data, in which every
    layer normalizes with its batch, and scaled with 1/sqrt(b) to the size given with `--serve-batch`, or else given
    for the one that the data ran in.

    When it fires: for layers that use the statistics of their batch in deployment (ND201). For others only where
    `--serve-batch` is given, as information: what it would be if the model were served in train mode.

    Why these limits: served with batch statistics, the digits CNN loses 1 point of accuracy at a noise of 0.12, 3 at
    0.18 and 11 at 0.30; ResNet20 on CIFAR-10, of whose 5 points at 0.08 most are drift, 8 at 0.16, 12 at 0.22 and 23
    at 0.31. So 0.13 (limit `noise`) is a warning and 0.3 (limit `severe`) an error.

    How to fix it: serve with running statistics (eval mode), or in larger batches. The noise falls with the square
    root of the batch size.

    Silent on random data. Not seen: that the samples of one request resemble each other, which makes it worse.

    Source: Ioffe 2017, Batch Renormalization, section 3; Singh and Shrivastava 2019 (EvalNorm).
    """
    if not is_measured(context.report) or context.report.data is None:
        return
    size = context.report.serve_batch or context.report.data.batch_size
    used = [each for each in context.report.layers if uses_batch(each.layer, context.report.model)]
    rows = used or (context.report.layers if context.report.serve_batch else ())
    noises = {each: noise for each in rows if (noise := _noise(each, size)) is not None}
    loud = sorted((each for each in noises if noises[each] > limits["noise"]), key=lambda each: -noises[each])

    def severity(metrics: LayerMetrics) -> Severity:
        return "info" if not used else "error" if noises[metrics] > limits["severe"] else "warning"

    for graded, found in alike(loud, severity).items():
        yield _draft({each.layer.name: noises[each] for each in found}, size, graded, used=bool(used))


def _noise(metrics: LayerMetrics, size: int) -> float | None:
    seen = metrics.own or metrics.drift
    return batch_noise(seen, size) if seen is not None else None


def _draft(noises: Mapping[str, float], size: int, severity: Severity, *, used: bool) -> FindingDraft:
    does = "its batch's statistics add" if used else "batch statistics, if it used them, would add"
    return FindingDraft(
        layers=tuple(noises),
        text=f"in batches of {size}, {does} noise of so many standard deviations",
        remedy="Serve with running statistics (eval mode), or in larger batches."
        if used
        else "Keep serving it in eval mode; in train mode it would need larger batches.",
        evidence={"noise": max(noises.values()), "batch_size": size, "layers": len(noises)},
        details={name: f"{noise:.2g}" for name, noise in noises.items()},
        severity=severity,
    )
