"""Fold reports made by hand, one of each sort that people meet."""

from __future__ import annotations

from dataclasses import replace

from normdiag.records import (
    Copied,
    Finding,
    FoldPlan,
    FoldReport,
    FoldStep,
    Latency,
    ModelInfo,
    PointError,
    RangeSpread,
    Refusal,
    Verification,
)

INFO = ModelInfo("net.onnx", "onnx", "onnx", None, 1_100_000, 270_000)


def proven(**changes: object) -> Verification:
    values: dict[str, object] = {
        "passed": True,
        "error": 3.1e-7,
        "bound": 4.2e-5,
        "output": "logits",
        "dtype": "float32",
        "depth": 21,
        "runs": 12,
        "samples": 54,
        "source": "seeded inputs",
        "float64_error": 2.9e-7,
        "original_float64_error": 3.3e-7,
        "points": (PointError("bn1", "bn1_out", 4e-7, 1e-5), PointError("layer1.0.bn2", "out2", 1e-7, 1e-5)),
        "batch_sizes": (1, 8),
        "magnitudes": (1.0, 10.0),
        "latency": Latency(2.3e-3, 1.9e-3, (0.8, 0.85)),
    }
    return Verification(**(values | changes))  # type: ignore[arg-type]


def clean() -> FoldReport:
    """Everything folded and verified."""
    steps = tuple(FoldStep(f"layer{i}.bn", "batch_norm", "before", (f"layer{i}.conv",), (), 16) for i in (1, 2, 3))
    ranges = (RangeSpread("layer1.conv", 16, 3.2, 8.1, 0, 0), RangeSpread("layer2.conv", 16, 2.0, 30.5, 0, 1))
    plan = FoldPlan(steps, norms=3)
    return FoldReport(INFO, plan, proven(), ranges, (), 1_080_000, 1_060_000, "folded.onnx")


def mixed() -> FoldReport:
    """Folds of every direction, refusals, a copy, a finding, notes."""
    steps = (
        FoldStep("bn1", "batch_norm", "before", ("conv1",), ("drop", "pool"), 16),
        FoldStep("bn2", "batch_norm", "after", ("fc1", "fc2", "fc3", "fc4"), ("flatten",), 16),
        FoldStep("bn3", "batch_norm", "after", ("conv9",), (), 16, shift_stays=True),
        FoldStep("bn4", "batch_norm", "norm", ("bn3",), (), 16),
        FoldStep("ln", "layer_norm", "after", ("query", "key", "value"), (), 16, whole=False),
        FoldStep("scale", "scale_shift", "before", ("conv7",), (), 16),
    )
    refusals = (
        Refusal("stem.bn", "batch_norm", "it comes out of Relu 'relu1', a nonlinearity", "relu1"),
        Refusal("a very long name/with slashes/and\x1b[31mcontrol/bn", "batch_norm", "it is in training mode", None),
    )
    finding = Finding("ND208", "int8-range-spread", "warning", "high", ("conv1",), "spread", "Quantize per channel.")
    copies = (Copied("weight", "conv2", ("conv3",), 2_400_000),)
    ranges = (RangeSpread("conv1", 32, 3.0, 4e6, 0, 12),)
    plan = FoldPlan(steps, refusals, copies=copies, norms=7)
    return FoldReport(
        INFO, plan, proven(float64_error=None, float64_note="the model has a custom operator"), ranges, (finding,),
        1_080_000, 3_480_000, "folded.onnx", ("a note",),
    )  # fmt: skip


def failed() -> FoldReport:
    """A fold that did not verify."""
    plan = FoldPlan(clean().plan.steps, norms=3)
    points = (PointError("layer2.bn", "out", 0.4, 1e-5), PointError("layer1.bn", "out", 1e-7, 1e-5))
    return FoldReport(INFO, plan, proven(passed=False, error=0.031, points=points), size_before=5, size_after=5)


def nothing() -> FoldReport:
    """A model without norms, dry."""
    return FoldReport(INFO, FoldPlan(), notes=("a dry run: nothing was run or written",))


def dry() -> FoldReport:
    """A plan that was not carried out."""
    notes = ("a dry run: nothing was run or written",)
    return replace(mixed(), verification=None, size_after=None, written=None, notes=notes)


REPORTS = {report.__name__: report for report in (clean, mixed, failed, nothing, dry)}
