"""training_mode: BatchNorm that normalizes with the statistics of the batch."""

from __future__ import annotations

from normdiag.comparison.causes.evidence import PartingEvidence, either, fits
from normdiag.comparison.formulas import with_batch_statistics
from normdiag.records.diff import PartingCause


@either
def training_mode(seen: PartingEvidence) -> PartingCause | None:
    """A model that was exported without eval(): its answers depend on what else is in the batch.

    B's output is what its input gives with the mean and variance of the batch, and A's layer has running statistics.
    """
    norm = seen.a.norm
    if norm is None or norm.kind != "batch_norm" or not norm.has_statistics or norm.training:
        return None
    x = seen.fed
    told = seen.b.norm is not None and bool(seen.b.norm.training)
    layer = seen.b.norm if told and seen.b.norm is not None else norm
    if x is None or not (told or fits(seen, seen.b.y, with_batch_statistics(x, layer))):
        return None
    letter = seen.b.letter
    return PartingCause(
        "training_mode",
        f"BatchNorm is in training mode in {letter}: it normalizes with the statistics of the batch.",
        f"{letter}'s output is its input normalized with the batch's own mean and variance",
        "Call model.eval() before exporting. An ONNX file: normdiag fold FILE --set-eval -o OUT",
    )
