"""Folding small ONNX models through files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from normdiag.folding.onnx import OnnxFoldable
from normdiag.folding.plan import plan_folds
from normdiag.records import FoldPlan
from normdiag.records.model import Array
from tests.nets.onnx.nodes import save
from tests.nets.onnx.values import outputs_of, random_feeds


def fold_file(source: Path, target: Path, norms: frozenset[str] = frozenset({"batch"})) -> FoldPlan:
    """Plan, apply and write."""
    foldable = OnnxFoldable(source)
    plan = plan_folds(foldable.graph, norms)
    foldable.fold(plan).write(target)
    return plan


def folded(
    proto: onnx.ModelProto, folder: Path, steps: int, norms: frozenset[str] = frozenset({"batch"})
) -> onnx.ModelProto:
    """The folded model, after the checks that every one must pass; `steps` is how many norms go."""
    source, target = save(proto, folder / "in.onnx"), folder / "out.onnx"
    plan = fold_file(source, target, norms)
    assert len(plan.steps) == steps, plan.refusals
    result = onnx.load(target)
    onnx.checker.check_model(proto, full_check=True)
    onnx.checker.check_model(result, full_check=True)
    assert list(result.graph.output) == list(proto.graph.output)
    same(source, target)
    return result


def same(source: Path, target: Path) -> None:
    """Both files give the same outputs in onnxruntime."""
    before, after = outputs(source), outputs(target)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


def outputs(path: Path, seed: int = 0) -> dict[str, Array]:
    """On random inputs."""
    return outputs_of(path, random_feeds(onnx.load(path, load_external_data=False), {"N": 2}, seed))


def initializer(proto: onnx.ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def names(proto: onnx.ModelProto) -> list[str]:
    return [tensor.name for tensor in proto.graph.initializer]


def operators(proto: onnx.ModelProto) -> list[str]:
    return [each.op_type for each in proto.graph.node]
