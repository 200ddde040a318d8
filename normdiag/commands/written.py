"""Normalization that the code of a PyTorch model spells out: no module is one, only the exported graph shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from normdiag.errors import InputError
from normdiag.metrics import measure_layers
from normdiag.records import Batch, Evidence, LayerEvidence, LayerMetrics, Norm, NormLayer, Op, OpGraph, Report
from normdiag.wording import abridged

if TYPE_CHECKING:
    from normdiag.folding.pytorch import TorchFoldable


def with_written_layers(report: Report, foldable: TorchFoldable, example: Batch) -> Report:
    """The report with these layers, in the order of the graph.

    Where data was run, they are measured on `example`, the first of it, by running the exported program.
    """
    known = [each.layer.name for each in report.layers]
    ops = [op for op in foldable.graph.ops if _is_new(op, known)]
    if not ops:
        return report
    layers = [_layer(op) for op in ops]
    evidence = Evidence() if report.data is None else _measured(ops, foldable, example)
    rows = _in_order(report.layers, measure_layers(layers, evidence), foldable.graph)
    names = abridged([each.name for each in layers])
    note = f"spelled out by the code of the model, and known from its exported graph alone: {names}"
    if report.data is not None:
        note += f"; measured on the first {example.size} samples"
    return replace(report, layers=rows, notes=(*report.notes, note))


def _layer(op: Op) -> NormLayer:
    assert isinstance(op.detail, Norm)
    return op.detail.layer


def _is_new(op: Op, known: Sequence[str]) -> bool:
    """Whether `inspect` has not seen it: it is no module that is listed, nor one that runs again ('h#2')."""
    spelled_out = isinstance(op.detail, Norm) and op.detail.layer.origin == "decomposed"
    return spelled_out and op.name not in known and "#" not in op.name


def _measured(ops: Sequence[Op], foldable: TorchFoldable, example: Batch) -> Evidence:
    """The groups of one batch; nothing where the program cannot run on it."""
    from normdiag.observe.pytorch.written import written_groups

    try:
        values = foldable.evaluator([op.inputs[0] for op in ops]).run(example)
    except InputError:
        return Evidence()
    found = {op.name: written_groups(_layer(op), values[op.inputs[0]], op.detail.axis, example.span) for op in ops}  # type: ignore[union-attr]
    sums = {name: LayerEvidence(calls=1, groups=groups) for name, groups in found.items() if groups is not None}
    return Evidence(samples=example.size, batches=1, batch_size=example.size, layers=sums)


def _in_order(known: Sequence[LayerMetrics], new: Sequence[LayerMetrics], graph: OpGraph) -> tuple[LayerMetrics, ...]:
    """Each new layer before the first known one that runs after it."""
    place = {op.name: index for index, op in enumerate(graph.ops)}
    rows = list(known)
    for each in new:
        later = (i for i, row in enumerate(rows) if place.get(row.layer.name, -1) > place[each.layer.name])
        rows.insert(next(later, len(rows)), each)
    return tuple(rows)
