"""Comparisons of two models, made by hand."""

from __future__ import annotations

from normdiag.records import ModelInfo
from normdiag.records.diff import (
    ComparedOnData,
    DiffReport,
    LayerDifference,
    Parting,
    PartingCause,
    PlaceApart,
    SettingDifference,
    TensorDifference,
)

A = ModelInfo("models/net.pt", "torch-zip", "pytorch", "0" * 64, 1_114_000, 269_722)
B = ModelInfo("models/net.onnx", "onnx", "onnx", "1" * 64, 1_120_000, 269_722)


def place(name: str, relative: float, bound: float, kind: str = "norm") -> PlaceApart:
    return PlaceApart(name, name, "name", kind, relative, 0.4 * relative, bound)


def parted() -> DiffReport:
    """An export in training mode: the models part at the first norm, which differs in what it stores as well."""
    layers = (
        LayerDifference("conv1", "conv1", "name", "conv"),
        LayerDifference(
            "norm1",
            "norm1",
            "name",
            "batch_norm",
            statistics=0.09,
            settings=(SettingDifference("training", "no", "yes"),),
        ),
        LayerDifference(
            "head", "fc", "order", "linear", weights=TensorDifference(0.003, 2e5, "float32", rounding=False)
        ),
    )
    cause = PartingCause(
        "training_mode", "BatchNorm is in training mode in B.", "its output is normalized", "Call model.eval()."
    )
    places = (place("conv1", 0.0, 4e-6), place("norm1", 0.137, 8e-6), place("head", 0.2, 2e-5))
    data = ComparedOnData(
        "digits.npz",
        352,
        8,
        False,
        places,
        (place("logits", 0.63, 2e-5, "output"),),
        Parting("norm1", "norm1", "batch_norm", 0.9, cause),
        0.014,
    )
    return DiffReport(A, B, layers, on_data=data)
