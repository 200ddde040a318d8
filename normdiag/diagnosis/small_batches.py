"""small_batches: batch statistics of too few samples in deployment."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen


@cause("small_batches", action="reexport", rivals="batch")
def small_batches(seen: Seen) -> Case | None:
    """Served in batches this small, a norm that uses its batch answers by chance.

    What it means: the statistics of b samples scatter with the square root of 1/b.

    How it is told: from how batches of the data differ, scaled to the size that is served.

    What to do: export in eval mode, so that the running statistics are used; or serve in larger batches.

    Source: Ioffe 2017, Batch Renormalization, section 3.
    """
    findings = seen.found("ND304", "ND206")
    if not findings:
        return None
    return Case(
        findings[0].layers,
        0.8,
        "In batches of the size that is served, the norms add noise to every answer.",
        findings[0].message,
        ("ND304", "ND206"),
        severity=findings[0].severity,
    )
