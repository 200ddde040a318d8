"""A model that is to run in float16, with two norms that must not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from normdiag.diagnosis import CAUSES, coverage, diagnosed
from normdiag.records import DataInfo, GroupMetrics, LayerMetrics, ModelInfo, NormLayer, Report
from normdiag.records.precision import HalfPrecision, KeptNorm, NormInHalf, PrecisionPlan
from normdiag.rules import RULES, with_findings

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
    report = diagnosed(with_findings(Report(model, data, norms, target="fp16", half=half), RULES), CAUSES)
    return replace(report, coverage=coverage(report, RULES))
