"""A model that is to run in float16, with two norms that must not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from normdiag.diagnosis import CAUSES, coverage, diagnosed
from normdiag.records import DataInfo, GroupMetrics, LayerMetrics, ModelInfo, NormLayer, NormRole, Report
from normdiag.records.outliers import MassiveActivation, NormOutliers
from normdiag.records.precision import HalfPrecision, KeptNorm, NormInHalf, PrecisionPlan
from normdiag.rules import RULES, with_findings

MASSIVE = (
    MassiveActivation(1415, 80, -312.5, 4200.0, (0,)),
    MassiveActivation(2533, 9, 140.0, 1880.0, (0, 17, 4)),
)
OUTLIERS = (
    NormOutliers("blocks.0.norm1", 256, 4.1, 3.2, 3.6, 3.0),
    NormOutliers("blocks.1.norm2", 256, 52.1, 940.0, 3.9, 3.1, (1415, 2533), MASSIVE),
    NormOutliers("norm", 256, 9.0, 20.0, None, None),
)
ROLES = (NormRole("blocks.0.norm1", "pre"), NormRole("blocks.0.norm2", "sandwich"), NormRole("blocks.1.norm2", "qk"))
SUMS = (900.0, 1500.0, 4100.0, 81_000.0, 2.4e6)


def _norm(index: int) -> LayerMetrics:
    layer = NormLayer(_name(index), "rms_norm", "decomposed", 4096, 1e-8, gamma=np.ones(4096), normalized_rank=1)
    size, largest = SUMS[index], 5.0 * 3**index
    groups = GroupMetrics(
        4096, size / 8192, size / 4096, largest, np.ones(4096), 7, 2.5, largest > 255.9, False, 0.0, size, size > 65504
    )
    return LayerMetrics(layer, 10, groups=groups)


def _name(index: int) -> str:
    return "norm" if index == len(SUMS) - 1 else f"blocks.{index // 2}.norm{index % 2 + 1}"


def _in_half(index: int) -> NormInHalf:
    total = SUMS[index]
    lost = 1.0 if total > 65504 else 5e-4
    errors = {
        "sequential": min(1.0, total / 9000),
        "pairwise": lost,
        "float32_sums": 0.14 if total > 1e6 else 4e-4,
        "float32": 3e-4,
        "rescaled": 6e-4,
    }
    share = 0.0 if total < 65504 else 0.3 if total < 1e6 else 1.0
    return NormInHalf(_name(index), "rms_norm", 4096, total, share, 96, errors, 0.0, 2e-9)  # type: ignore[arg-type]


def half_precision() -> Report:
    """The report, with what the rules and the causes make of it."""
    kept = (
        KeptNorm("blocks.1.norm2", ("/blocks.1/norm2/Mul", "/blocks.1/norm2/ReduceMean", ""), 0.31, 0.0012),
        KeptNorm("norm", ("/norm/Mul", "/norm/ReduceMean"), math.inf, 0.13),
    )
    where = "onnxruntime on the CPU, every tensor rounded to float16"
    plan = PrecisionPlan(kept, math.inf, 0.13, 0.0011, 0.001, 0.004, True, 4, 12, where)
    half = HalfPrecision("fp16", tuple(_in_half(index) for index in range(len(SUMS))), plan)
    model = ModelInfo("tiny llama.onnx", "onnx", "onnx", "2" * 64, 22_000_000, 5_500_000)
    data = DataInfo("tokens.npy", 80, 8, 10, False)
    norms = tuple(_norm(index) for index in range(len(SUMS)))
    report = Report(model, data, norms, target="fp16", half=half, outliers=OUTLIERS, roles=ROLES)
    report = diagnosed(with_findings(report, RULES), CAUSES)
    return replace(report, coverage=coverage(report, RULES))
