"""half_precision: numbers that the format of deployment cannot hold."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.records import Finding

PLANNED = "Keep these layers in float32: the precision plan has the arguments for each tool. Or use bfloat16."


@cause("half_precision", action="reexport")
def half_precision(seen: Seen) -> Case | None:
    """Values of a layer do not fit the number format that the model is to run in.

    What it means: float16 ends at 65504 and loses what is below 6e-8. A variance, an eps or the square of an activation
    beyond that becomes infinite or zero.

    How it is told: by running the model in the format, with fewer and fewer norms in float32 (ND310); by stored values
    (ND108) and by the largest values and sums of squares seen (ND306). For `--target fp16` or `bf16`, or models whose
    weights are stored in float16.

    What to do: run these layers in float32, for which the report has the arguments of each tool, or export for
    bfloat16, which has the range of float32.

    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.
    """
    findings = sorted(seen.found("ND108", "ND306", "ND310"), key=_rank)
    if not findings:
        return None
    first = findings[0]
    verified = [each for each in findings if each.rule == "ND310"]
    kept = tuple(dict.fromkeys(name for each in verified for name in each.layers))
    layers = kept or tuple(dict.fromkeys(name for each in findings for name in each.layers))
    return Case(
        layers,
        0.95 if verified else 0.9,
        "Values do not fit the number format that the model is to run in.",
        first.message,
        ("ND108", "ND306", "ND310"),
        severity=first.severity,
        remedy=PLANNED if kept else first.remedy,
    )


def _rank(finding: Finding) -> tuple[bool, bool]:
    """What is severest first, and then what was verified by running the model."""
    return finding.severity != "error", finding.rule != "ND310"
