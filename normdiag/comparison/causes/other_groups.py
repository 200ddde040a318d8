"""other_groups: GroupNorm computed with another number of groups, as InstanceNorm for one."""

from __future__ import annotations

from normdiag.comparison.causes.evidence import PartingEvidence, either, fits
from normdiag.comparison.formulas import in_groups
from normdiag.records.diff import PartingCause


@either
def other_groups(seen: PartingEvidence) -> PartingCause | None:
    """GroupNorm is exported by way of InstanceNorm on a reshaped input; without the reshape every channel is a group.

    B's output is that of A's layer with another number of groups.
    """
    norm, x = seen.a.norm, seen.fed
    if norm is None or norm.kind not in ("group_norm", "instance_norm") or norm.has_statistics:
        return None
    if x is None or x.ndim < 2:
        return None
    channels = x.shape[1]
    own = norm.groups if norm.kind == "group_norm" else channels
    for groups in (channels, 1, *(n for n in range(2, channels) if channels % n == 0)):
        if groups != own and fits(seen, seen.b.y, in_groups(x, norm, groups)):
            a, b = seen.a.letter, seen.b.letter
            kind = {channels: "InstanceNorm", 1: "one group"}.get(groups, f"{groups} groups")
            whole = "GroupNorm" if norm.kind == "group_norm" else "InstanceNorm"
            return PartingCause(
                "other_groups",
                f"{whole} of {own} groups in {a} is computed as {kind} in {b}.",
                f"{b}'s output is that of {groups} groups of {channels // groups} channels",
                "Export with an operator set that has GroupNormalization (18 or later), or check its reshape.",
            )
    return None
