"""The one place where the zoo calls the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from normdiag.folding.checked import checked_plan
from normdiag.records import Batch, FoldPlan, ModelInfo

BATCH = frozenset({"batch"})


@dataclass(frozen=True, eq=False)
class Outcome:
    """The plan and the folded model: as it stands in its file, or a module beside its torch.export program."""

    plan: FoldPlan
    model: Any
    program: Any = None


def fold_onnx(model: onnx.ModelProto, folder: Path, norms: frozenset[str] = BATCH) -> Outcome:
    """Through files; the original file must not change."""
    source, target = folder / "original.onnx", folder / "folded.onnx"
    target.unlink(missing_ok=True)
    data = model.SerializeToString()
    source.write_bytes(data)
    outcome = fold_onnx_file(source, target, norms)
    assert source.read_bytes() == data
    return outcome


def fold_onnx_file(source: Path, target: Path, norms: frozenset[str] = BATCH) -> Outcome:
    from normdiag.folding.onnx import OnnxFoldable

    foldable = OnnxFoldable(source)
    plan = checked_plan(foldable.graph, norms=norms)
    foldable.fold(plan).write(target)
    return Outcome(plan, onnx.load(target))


def torch_foldable(module: Any, inputs: tuple[Any, ...]) -> Any:
    from normdiag.folding.pytorch import TorchFoldable

    info = ModelInfo(None, "module", "pytorch", None, None, None)
    return TorchFoldable(module, info, Batch(tuple(tensor.numpy() for tensor in inputs)))


def fold_torch(module: Any, inputs: tuple[Any, ...], norms: frozenset[str] = BATCH) -> Outcome:
    """A live module."""
    foldable = torch_foldable(module, inputs)
    plan = checked_plan(foldable.graph, norms=norms)
    folded = foldable.fold(plan)
    return Outcome(plan, folded.model, folded.program)
