"""New statistics in a graph: which initializers get other values, and which nodes change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from normdiag.observe.protocol import ReplacedStatistics
from normdiag.records.model import Array
from normdiag.writing.onnx.evaluation import evaluate, trains
from normdiag.writing.onnx.names import all_names, free_name, uses
from normdiag.writing.rounding import rounded

MEAN, VARIANCE = 3, 4  # inputs of BatchNormalization


@dataclass(frozen=True, eq=False)
class StatisticsEdit:
    """New values of initializers by name, new initializers, and nodes to be put in place of others by index."""

    values: dict[str, Array] = field(default_factory=dict)
    added: dict[str, Array] = field(default_factory=dict)
    nodes: dict[int, Any] = field(default_factory=dict)


def statistics_edit(model: Any, wanted: Mapping[str, ReplacedStatistics], dtypes: Mapping[str, Any]) -> StatisticsEdit:
    """What changes in an onnx.ModelProto where the BatchNormalization nodes get these statistics, by their output.

    An initializer that only they read, all with the same values, gets new ones; any other constant stays for its other
    readers, and a new initializer takes its place. Nodes in training mode are put into evaluation mode. `dtypes` are
    those of the statistics by output. Raises InputError for values that do not fit into theirs.
    """
    graph, edit = model.graph, StatisticsEdit()
    stored, counts, taken = {tensor.name for tensor in graph.initializer}, uses(model), all_names(model)
    slots: dict[str, list[tuple[int, int, Array]]] = {}
    for index, node in enumerate(graph.node):
        found = wanted.get(node.output[0]) if node.output and node.op_type == "BatchNormalization" else None
        if found is None:
            continue
        for slot, value in ((MEAN, found.mean), (VARIANCE, found.var)):
            label = f"{node.name or node.output[0]!r}"
            slots.setdefault(node.input[slot], []).append((index, slot, rounded(value, dtypes[node.output[0]], label)))
        if trains(node):
            evaluate(_own(edit, graph, index))
    for name, readers in slots.items():
        same = all((value == readers[0][2]).all() for _, _, value in readers)
        if name in stored and same and counts[name] == len(readers):
            edit.values[name] = readers[0][2]
            continue
        made: dict[bytes, str] = {}
        for index, slot, value in readers:
            new = made.get(value.tobytes()) or free_name(f"{name}_recalibrated", taken)
            made[value.tobytes()] = new
            edit.added[new] = value
            _own(edit, graph, index).input[slot] = new
    return edit


def running_outputs_used(model: Any, node: Any) -> bool:
    """Whether anybody reads the updated statistics that a node in training mode puts out."""
    counts = uses(model)
    return any(name and counts[name] for name in node.output[1:])


def _own(edit: StatisticsEdit, graph: Any, index: int) -> Any:
    """A node of our own to change."""
    import onnx

    if index not in edit.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(graph.node[index])
        edit.nodes[index] = copy
    return edit.nodes[index]
