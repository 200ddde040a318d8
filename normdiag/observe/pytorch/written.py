"""Groups of a normalization that no call shows, out of the values that it normalizes."""

from __future__ import annotations

from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.observe.pytorch.groups import channel_groups, feature_groups
from normdiag.records import GroupSums, NormLayer, Span


def written_groups(layer: NormLayer, x: Array, axis: int, span: Span | None = None) -> GroupSums | None:
    """What a LayerNorm, RMSNorm, GroupNorm or InstanceNorm normalizes in x, whose channels lie along `axis`.

    `span` is where its samples lie in the data. A LayerNorm over several axes takes the last ones. None for a norm over
    the batch, and where there are no values.
    """
    value = to_tensor(x)
    if not value.numel() or layer.kind == "batch_norm":
        return None
    if layer.kind in ("layer_norm", "rms_norm"):
        rank = layer.normalized_rank or 1
        rows = value.movedim(axis, -1) if rank == 1 else value
        return feature_groups(rows, rows.shape[-rank:].numel(), centred=layer.kind == "layer_norm", span=span)
    channels = value.movedim(axis, 1)
    return channel_groups(channels, layer.groups or int(channels.shape[1]), span)
