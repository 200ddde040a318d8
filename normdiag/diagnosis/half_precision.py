"""half_precision: numbers that the format of deployment cannot hold."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen


@cause("half_precision", action="reexport")
def half_precision(seen: Seen) -> Case | None:
    """Values of a layer do not fit the number format that the model is to run in.

    What it means: float16 ends at 65504 and loses what is below 6e-8. A variance, an eps or the square of an activation
    beyond that becomes infinite or zero.

    How it is told: by stored values (ND108) and by the largest values seen (ND306), for `--target fp16` or models whose
    weights are stored in it.

    What to do: run this layer in float32, or export for bfloat16, which has the range of float32.

    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.
    """
    findings = seen.found("ND108", "ND306")
    if not findings:
        return None
    return Case(
        findings[0].layers,
        0.9,
        "Values do not fit the number format that the model is to run in.",
        findings[0].message,
        ("ND108", "ND306"),
        severity=findings[0].severity,
    )
