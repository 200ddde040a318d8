"""folded_norms: the file holds no norm any more."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.diagnosis.folded import folded_away
from normdiag.wording import abridged


@cause("folded_norms", action="reexport")
def folded_norms(seen: Seen) -> Case | None:
    """Whoever wrote the file folded the BatchNorm layers into the layers before them, so that nothing is left to judge.

    What it means: the outputs are the same, and faster; but the running statistics are gone, and with them all that
    they tell about the data, the input and the training.

    How it is told: by metadata that the newer torch exporter leaves, or by the names of rewritten weights.

    What to do: export again with the norms in place (optimize=False), or give the checkpoint, or a profile of what the
    model once showed, with `--reference`.

    Source: the constant folding of torch.onnx.export.
    """
    if seen.report.layers or not seen.report.folded or seen.report.reference is not None:
        return None
    why, remedy = folded_away(seen.report)
    layers = [each.layer for each in seen.report.folded]
    return Case(
        (),
        0.5,
        "The norms were folded before the file was written.",
        f"{abridged(layers)}: {why}",
        (),
        severity="info",
        remedy=remedy or "",
    )
