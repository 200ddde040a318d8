"""Every name in a model, who reads it, and names that are free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from normdiag.models.onnx.parse import subgraphs


def uses(model: Any) -> Counter[str]:
    """How often each tensor of the main graph is read: by nodes, subgraphs, graph outputs, training and annotations."""
    counts = Counter(_graph_uses(model.graph))
    for training in model.training_info:
        counts.update(_graph_uses(training.initialization))
        counts.update(_graph_uses(training.algorithm))
        for binding in (*training.initialization_binding, *training.update_binding):
            counts.update((binding.key, binding.value))
    return counts


def all_names(model: Any) -> set[str]:
    """Every name of a tensor or node anywhere in a model: none of them is free."""
    names = set(_graph_names(model.graph))
    for training in model.training_info:
        names.update(_graph_names(training.initialization))
        names.update(_graph_names(training.algorithm))
    return names


def free_name(hint: str, taken: set[str]) -> str:
    """`hint`, with a number after it where that is taken; taken from now on."""
    name, count = hint, 0
    while name in taken or not name:
        count += 1
        name = f"{hint}_{count}"
    taken.add(name)
    return name


def _graph_uses(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for body in subgraphs(node):
            yield from _graph_uses(body)
    for output in graph.output:
        yield output.name
    for annotation in graph.quantization_annotation:
        for entry in annotation.quant_parameter_tensor_names:
            yield entry.value


def _graph_names(graph: Any) -> Iterator[str]:
    for part in (graph.input, graph.output, graph.value_info, graph.initializer):
        yield from (each.name for each in part)
    yield from (each.values.name for each in graph.sparse_initializer)
    yield from (each.tensor_name for each in graph.quantization_annotation)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
        for body in subgraphs(node):
            yield from _graph_names(body)
