"""saturation: activations that have become switches."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen


@cause("saturation", action="retrain", rivals="drift")
def saturation(seen: Seen) -> Case | None:
    """Activations are so far in their flat tails that they pass neither detail nor gradient.

    What it means: inputs that differ come out alike. The scale of the values has outgrown the activation.

    How it is told: by the share of saturated values in hidden sigmoids and their like (ND401) and by the gradient that
    the activations let through (ND403), where no wrong input or statistic explains them.

    What to do: normalize before the activation, or train with smaller initial weights or a smaller learning rate.

    Source: Glorot and Bengio 2010, section 3; Ioffe and Szegedy 2015, section 4.1.
    """
    findings = seen.found("ND401", "ND403")
    if not findings:
        return None
    return Case(
        findings[0].layers,
        0.2,
        "Activations are saturated: they pass neither detail nor gradient.",
        findings[0].message,
        ("ND401", "ND403"),
        severity=findings[0].severity,
    )
