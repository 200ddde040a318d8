"""dead_channels: channels or units that pass nothing."""

from __future__ import annotations

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.seen import Seen


@cause("dead_channels", action="reload_weights", rivals="drift")
def dead_channels(seen: Seen) -> Case | None:
    """Channels of a layer pass nothing on: a gamma of zero, no variance, or units that no sample activates.

    What it means: the layer's output is a constant in these channels, whatever the input. Pruning and an L1 penalty
    do that on purpose; a conversion, a learning rate too high or a weight decay on gamma by mistake.

    How it is told: by gammas next to zero (ND106), variances below eps (ND103) or rectifiers that are inactive on all
    samples (ND402), where no wrong input or statistic explains it. The evidence says in how many channels.

    What to do: load the layer from the file that was saved in training; where the channels were cut on purpose, remove
    them and recalibrate.

    Source: Lu et al. 2019, Dying ReLU and Initialization; Liu et al. 2017, Network Slimming.
    """
    findings = seen.found("ND106", "ND103", "ND102") or seen.found("ND402")
    if not findings:
        return None
    at_gamma = findings[0].rule == "ND106"
    layers = tuple(dict.fromkeys(layer for each in findings for layer in each.layers))
    return Case(
        layers,
        0.92 if at_gamma else 0.25,
        f"Channels of '{layers[0]}' pass nothing on, whatever the input.",
        findings[0].message,
        ("ND102", "ND103", "ND106", "ND402", *(ON_DATA if at_gamma else ())),
        severity=findings[0].severity,
        action=None if at_gamma else "retrain",
    )
