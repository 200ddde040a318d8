"""non_finite: values that no statistic can have."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.seen import Seen


@cause("non_finite", action="reload_weights")
def non_finite(seen: Seen) -> Case | None:
    """A parameter or statistic is NaN, infinite, or a variance that is not positive: training or a conversion broke it.

    What it means: everything after it is NaN or constant. A single infinite loss is enough, in half precision above
    all; a negative variance comes from arithmetic on checkpoints or a mix-up of tensors.

    How it is told: by the stored values.

    What to do: load the layer from a checkpoint from before it broke. Where statistics alone are broken and the weights
    are not, recalibrating restores them.

    Source: IEEE 754; Ioffe and Szegedy 2015, algorithm 1.
    """
    # a variance of zero in some channels is that of channels that were constant on the data of the statistics
    findings = (*seen.found("ND101"), *(each for each in seen.found("ND102") if each.severity == "error"))
    if not findings:
        return None
    layers = tuple(dict.fromkeys(layer for each in findings for layer in each.layers))
    where = f"'{layers[0]}'" if len(layers) == 1 else f"{len(layers)} layers"
    return Case(
        layers,
        1.0,
        f"Values stored in {where} are not numbers that a norm can work with.",
        findings[0].message,
        ("ND101", "ND102", "ND103", "ND104", "ND107", "ND209", *ON_DATA),
        severity="error",
    )
