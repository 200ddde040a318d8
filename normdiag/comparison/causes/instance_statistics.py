"""instance_statistics: InstanceNorm with tracked statistics that one model uses and the other does not."""

from __future__ import annotations

from normdiag.comparison.causes.evidence import PartingEvidence, either, fits
from normdiag.comparison.formulas import in_groups
from normdiag.records.diff import PartingCause


@either
def instance_statistics(seen: PartingEvidence) -> PartingCause | None:
    """InstanceNorm with track_running_stats=True uses running averages in eval mode; exported it often does not.

    A's layer has running statistics, and B's output is its input normalized by each sample's own.
    """
    norm = seen.a.norm
    if norm is None or norm.kind not in ("instance_norm", "batch_norm") or not norm.has_statistics:
        return None
    own = seen.b.norm is not None and seen.b.norm.kind == "instance_norm" and not seen.b.norm.has_statistics
    x = seen.fed
    if x is None or x.ndim < 3 or not (own or fits(seen, seen.b.y, in_groups(x, norm, x.shape[1]))):
        return None
    if x.shape[0] == 1 and norm.kind == "batch_norm" and not own:
        return None  # of a single sample, batch and instance are one
    a, b = seen.a.letter, seen.b.letter
    return PartingCause(
        "instance_statistics",
        f"InstanceNorm tracks statistics, which {a} uses and {b} does not.",
        f"{b}'s output is its input normalized by each sample's own mean and variance",
        "Decide which is meant: track_running_stats=False before exporting, or BatchNorm in eval mode.",
    )
