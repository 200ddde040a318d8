"""batch_dependent: a norm that uses its batch in deployment."""

from __future__ import annotations

from normdiag.diagnosis.cause import Case, cause
from normdiag.diagnosis.evidence.seen import Seen
from normdiag.wording import abridged


@cause("batch_dependent", action="reexport", rivals="batch")
def batch_dependent(seen: Seen) -> Case | None:
    """The model normalizes with whatever is in the batch: it was exported in training mode, or stores no statistics.

    What it means: a sample's answer depends on the samples that run with it, and a sample that runs alone is
    normalized by itself.

    How it is told: by the mode in the export, by missing running statistics, or by what was seen in a run.

    What to do: call `model.eval()` and export again. A layer without running statistics needs to be trained with them
    (track_running_stats=True), or replaced by a norm of single samples.

    Source: Ioffe and Szegedy 2015, section 3.1.
    """
    findings = seen.found("ND201", "ND210")
    if not findings:
        return None
    layers = tuple(dict.fromkeys(layer for each in findings for layer in each.layers))
    stored = any(each.evidence.get("stored") != "no" for each in findings)
    return Case(
        layers,
        0.97,
        "What the model answers depends on what else is in the batch.",
        f"{abridged(layers)}: {findings[0].text}",
        ("ND201", "ND206", "ND210", "ND302", "ND304"),
        severity=findings[0].severity,
        action=None if stored else "retrain",
        alternatives=("small_batches",) if seen.found("ND304") else (),
    )
