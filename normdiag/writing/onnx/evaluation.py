"""Nodes in training mode put into evaluation mode: BatchNormalization, and Dropout beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from normdiag.errors import InputError
from normdiag.writing.onnx.names import uses
from normdiag.writing.onnx.original import Original

_DROPOUT_MODE = 2  # the input of Dropout that says whether it drops, since opset 12


def evaluated(original: Original) -> tuple[Original, tuple[str, ...]]:
    """The model with BatchNormalization on its stored statistics and Dropout off, and the names of those changed.

    Raises InputError where the model reads what only a node in training mode puts out.
    """
    import onnx

    counts, proto = uses(original.proto), onnx.ModelProto()
    proto.CopyFrom(original.proto)
    changed = {}
    for index, node in enumerate(proto.graph.node):
        if not (node.op_type == "BatchNormalization" and trains(node)) and not _drops(node):
            continue
        if node.op_type == "BatchNormalization" and any(name and counts[name] for name in node.output[1:]):
            raise InputError(
                f"{original.path}: {_name(node)!r} is in training mode, and the model reads what it updates"
            )
        if node.op_type == "BatchNormalization":
            evaluate(node)
        else:
            del node.input[_DROPOUT_MODE:]
        changed[index] = node
    return replace(original, proto=proto, nodes=changed), tuple(_name(node) for node in changed.values())


def trains(node: Any) -> bool:
    """Whether a BatchNormalization is in training mode."""
    return len(node.output) > 1 or any(each.name == "training_mode" and each.i for each in node.attribute)


def evaluate(node: Any) -> None:
    """Take away the flag, and the outputs that only a node in training mode has."""
    kept = [each for each in node.attribute if each.name != "training_mode"]
    del node.attribute[:]
    node.attribute.extend(kept)
    del node.output[1:]


def _drops(node: Any) -> bool:
    return node.op_type == "Dropout" and len(node.input) > _DROPOUT_MODE and bool(node.input[_DROPOUT_MODE])


def _name(node: Any) -> str:
    return str(node.name or node.output[0])
