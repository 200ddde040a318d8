"""Which layers normalize with their batch, so that what they store says nothing of what they do."""

from __future__ import annotations

from normdiag.records import ModelInfo, NormLayer

# Formats in which the mode of a layer is part of what was exported. In a checkpoint it is merely where training was.
EXPORTED = frozenset({"onnx", "torchscript", "torch-export"})


def uses_batch(layer: NormLayer, model: ModelInfo) -> bool:
    """Whether a BatchNorm normalizes, as deployed, with the statistics of its batch; stored ones are unused then.

    What was seen in a run counts more than the flag in the file.
    """
    if layer.kind != "batch_norm":
        return False
    if layer.batch_statistics is not None:
        return layer.batch_statistics
    known = layer.has_statistics or "BatchNorm" in (layer.class_name or "")
    if model.format in EXPORTED:
        return bool(layer.training) and known
    return stores_none(layer)


def stores_none(layer: NormLayer) -> bool:
    """Whether it is a BatchNorm module made with track_running_stats=False; a lazy one only has none yet."""
    name = layer.class_name or ""
    module = layer.origin == "module" and "BatchNorm" in name and not name.startswith("Lazy")
    return module and layer.kind == "batch_norm" and layer.running_mean is None and layer.running_var is None
