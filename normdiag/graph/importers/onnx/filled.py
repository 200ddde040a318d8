"""Tensors that hold one number everywhere: what exporters put where a norm has no gamma or beta."""

from __future__ import annotations

from normdiag.graph.importers.onnx.constants import OnnxConstants


def filled_with(name: str, constants: OnnxConstants) -> float | None:
    """The number that a tensor holds everywhere, whatever its size; None for others."""
    node = constants.graph.producer(name)
    if node is not None and node.op == "Expand" and not node.domain:
        return constants.scalar(constants.graph.root(node.input(0)))
    array = constants.array(name)
    alike = array is not None and array.size and (array == array.reshape(-1)[0]).all()
    return float(array.reshape(-1)[0]) if array is not None and alike else None
