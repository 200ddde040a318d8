"""A folded export beside its checkpoint: the norms that are no longer there, measured where they were folded into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normdiag.comparison.contents import contents_of_graph, contents_of_tensors
from normdiag.comparison.recovered import RecoveredNorm, recovered_norms
from normdiag.errors import InputError, UsageError
from normdiag.graph import graph_of, open_model
from normdiag.metrics import measure_layers
from normdiag.models import LoadOptions
from normdiag.records import (
    Batch,
    Conv,
    Evidence,
    LayerEvidence,
    Linear,
    Model,
    Op,
    Point,
    PointMap,
    PointSums,
    Report,
    Sizes,
)

if TYPE_CHECKING:
    from normdiag.observe.onnx.points import LinearOutput


@dataclass(frozen=True, eq=False)
class FoldedReference:
    """The norms of a checkpoint that are folded into the linear layers of a model, each with the output to watch."""

    path: str
    norms: tuple[RecoveredNorm, ...]
    outputs: tuple[LinearOutput, ...]

    def watch(self, runner: Any) -> Callable[[Batch], PointMap]:
        """What sums up the outputs of these layers."""
        return lambda batch: runner.linear_points(batch, self.outputs)

    def applied(self, report: Report, seen: PointMap) -> Report:
        """The report with the drift of the norms that were folded away, as if they still stood there."""
        evidence = {
            norm.layer.name: LayerEvidence(1, deployed=before_norm(norm, seen[output.point]).sums)
            for norm, output in zip(self.norms, self.outputs, strict=True)
            if output.point in seen
        }
        found = measure_layers([norm.layer for norm in self.norms], Evidence(layers=evidence))
        of = "layer" if len(found) == 1 else "layers"
        note = f"{len(found)} BatchNorm {of} folded away: measured with the statistics in {self.path}"
        return replace(report, layers=(*found, *report.layers), notes=(*report.notes, note))

    def without(self, model: Model) -> Model:
        """The model without what is said of layers that are folded away and were found again."""
        weights = {name for norm in self.norms for name in (norm.weight, norm.weight.rpartition(".")[0])}
        names = weights | {norm.layer.name for norm in self.norms} | {output.point.name for output in self.outputs}
        left = tuple(each for each in model.folded if each.name not in names and each.layer not in names)
        return replace(model, folded=left)


def before_norm(norm: RecoveredNorm, sums: PointSums) -> PointSums:
    """The sums of (x - mean), of what entered a norm, from those of its output y = scale (x - mean) + beta."""
    kept = norm.channels
    chosen = PointSums(sums.shift[kept], sums.counts, sums.first[:, :, kept], sums.second[:, kept])
    beta = np.zeros(len(kept)) if norm.layer.beta is None else norm.layer.beta.astype(np.float64)
    return chosen.about(beta).scaled(1.0 / norm.scale)


def folded_reference(path: Path, model: Model) -> FoldedReference:
    """The norms of the checkpoint at `path` that are folded into `model`.

    Raises UsageError for a model that is not ONNX, InputError where none is found.
    """
    if model.info.backend != "onnx":
        raise UsageError(
            f"--reference {path}: weights are a reference for an ONNX export of them; for this model give a profile "
            "(normdiag profile)"
        )
    from normdiag.models.load import read_weights

    graph = graph_of(model)
    assert graph is not None  # it is an ONNX model
    options = LoadOptions()
    before = contents_of_tensors(read_weights(path, options).tensors, open_model(path, options).layers)
    exported = contents_of_graph(graph, {})
    ops = {op.detail.weight.name: op for op in graph.ops if isinstance(op.detail, Conv | Linear)}
    norms = tuple(norm for norm in recovered_norms(exported, before) if norm.weight in ops)
    if not norms:
        raise InputError(
            f"{path}: no linear layer of {model.info.path} is one of it with a BatchNorm folded in; for anything else "
            "give a profile (normdiag profile)"
        )
    outputs = tuple(_output(op, graph.sizes.get(op.outputs[0])) for op in (ops[norm.weight] for norm in norms))
    return FoldedReference(str(path), norms, outputs)


def _output(op: Op, sizes: Sizes | None) -> LinearOutput:
    from normdiag.observe.onnx.points import LinearOutput

    axis = 1 if isinstance(op.detail, Conv) else getattr(op.detail, "channel_axis", -1)
    rank = None if sizes is None else len(sizes)
    return LinearOutput(Point("linear", op.name), op.outputs[0], axis, rank, max(op.nodes))
