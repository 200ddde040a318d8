"""The frozen records that pass between the stages, importable from here. Nothing in them knows a framework."""

from normdiag.records.batch import Batch, InputSpec
from normdiag.records.evidence import (
    ActivationSums,
    ChannelSums,
    Evidence,
    GroupSums,
    LayerEvidence,
    OutputSums,
)
from normdiag.records.model import Model, ModelInfo, NormKind, NormLayer
from normdiag.records.report import (
    ActivationMetrics,
    Attribution,
    DataInfo,
    Drift,
    Finding,
    Gap,
    GradientProduct,
    GroupMetrics,
    LayerMetrics,
    Report,
    Severity,
)

__all__ = [
    "ActivationMetrics",
    "ActivationSums",
    "Attribution",
    "Batch",
    "ChannelSums",
    "DataInfo",
    "Drift",
    "Evidence",
    "Finding",
    "Gap",
    "GradientProduct",
    "GroupMetrics",
    "GroupSums",
    "InputSpec",
    "LayerEvidence",
    "LayerMetrics",
    "Model",
    "ModelInfo",
    "NormKind",
    "NormLayer",
    "OutputSums",
    "Report",
    "Severity",
]
