"""Third-party models, folded and compared with copies that others folded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from normdiag.folding.checked import checked_plan
from normdiag.folding.onnx import OnnxFoldable
from normdiag.records import Batch
from normdiag.records.model import Array
from tests.folding.onnx.folded_files import operators

Real = Callable[[str], Path]


def batch(foldable: OnnxFoldable) -> Batch:
    rng = np.random.default_rng(0)
    shapes = [[size or 1 for size in each.shape or ()] for each in foldable.inputs]
    arrays = tuple(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes)
    return Batch(arrays, tuple(each.name for each in foldable.inputs))


def error(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_ultraface(real: Real, tmp_path: Path) -> None:
    """All 25 go, and the result computes what someone else's folded copy does, which ends ahead of the box decoding."""
    source = OnnxFoldable(real("ultraface/version-slim-320.onnx"))
    plan = checked_plan(source.graph)
    assert len(plan.steps) == plan.norms == 25
    folded, target = source.fold(plan), tmp_path / "out.onnx"
    assert folded.write(target) == ()
    result = onnx.load(target)
    onnx.checker.check_model(result, full_check=True)
    assert "BatchNormalization" not in operators(result) and len(folded.points) == 25
    assert [each.name for each in result.graph.output] == ["scores", "boxes"]
    assert (
        result.opset_import[0].version == 9
        and target.stat().st_size < real("ultraface/version-slim-320.onnx").stat().st_size
    )
    images = batch(source)
    theirs = OnnxFoldable(real("ultraface/version-slim-320_simplified.onnx")).evaluator().run(images)
    undecoded = next(each.input[0] for each in result.graph.node if each.op_type == "Slice")
    ours = OnnxFoldable(target).evaluator([undecoded]).run(images)
    assert error(ours["scores"], theirs["scores"]) < 1e-5 and error(ours[undecoded], theirs["boxes"]) < 1e-5
    before = source.evaluator([point.before for point in folded.points]).run(images)
    after = folded.evaluator([point.after for point in folded.points]).run(images)
    assert max(error(after[point.after], before[point.before]) for point in folded.points) < 1e-5


def test_gtcrn(real: Real, tmp_path: Path) -> None:
    """All 11 go, into transposed convolutions; recurrent layers run in float64 as well."""
    source = OnnxFoldable(real("gtcrn/stream_onnx_models_gtcrn_simple.onnx"))
    plan = checked_plan(source.graph)
    assert len(plan.steps) == plan.norms == 11
    folded, target = source.fold(plan), tmp_path / "out.onnx"
    folded.write(target)
    onnx.checker.check_model(str(target), full_check=True)
    data = batch(source)
    exact = source.exact()
    assert not isinstance(exact, str)
    expected, before, after = exact.run(data), source.evaluator().run(data), folded.evaluator().run(data)
    assert before.keys() == after.keys() == expected.keys()
    for name, values in expected.items():
        assert error(before[name], values) < 5e-6 and error(after[name], values) < 5e-6
