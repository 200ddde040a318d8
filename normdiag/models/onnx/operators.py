"""Normalization operators: BatchNormalization first."""

from __future__ import annotations

from normdiag.errors import InputError
from normdiag.models.onnx.constants import Constants
from normdiag.models.onnx.graph import Node
from normdiag.models.onnx.program import NormSite
from normdiag.records import NormLayer
from normdiag.records.model import Array

OLDEST_OPSET = 7


def batch_norm(node: Node, constants: Constants, opset: int) -> NormSite | str:
    """The site of a BatchNormalization node, or the reason why it is not one.

    Raises InputError where its parameters do not fit together.
    """
    where = f"BatchNormalization {node.name or node.outputs[:1]!r}"
    if len(node.inputs) < 5 or not all(node.inputs[:5]) or not node.outputs:
        raise InputError(f"{constants.reader.path}: {where} has {len(node.inputs)} inputs instead of 5")
    if opset < OLDEST_OPSET:
        return f"of operator set {opset}; the oldest that is understood is {OLDEST_OPSET}"
    if node.integer("spatial", 1) == 0:
        return "with spatial=0, which has statistics for every position"
    arrays = [constants.array(name) for name in node.inputs[1:5]]
    gamma, beta, mean, var = arrays
    if gamma is None or beta is None or mean is None or var is None:
        return "whose parameters are computed by the graph (a LayerNorm or batch statistics written so?)"
    _check_sizes(where, constants, gamma, beta, mean, var)
    layer = NormLayer(
        name=node.name,
        kind="batch_norm",
        origin="operator",
        channels=int(gamma.size),
        eps=node.number("epsilon", 1e-5),
        momentum=torch_momentum(node.number("momentum", 0.9)),
        gamma=gamma,
        beta=beta,
        running_mean=mean,
        running_var=var,
        training=is_training(node, opset),
        class_name=node.op,
    )
    return NormSite(layer, node.inputs[0], node.outputs[0], (node.index,))


def torch_momentum(momentum: float) -> float:
    """ONNX weighs the old statistics with momentum, PyTorch the new ones."""
    return round(1.0 - momentum, 9)


def is_training(node: Node, opset: int) -> bool:
    """Opset 14 has an attribute for it; before, only a training graph asked for more than one output."""
    if opset >= 14:
        return node.integer("training_mode", 0) != 0
    return sum(map(bool, node.outputs)) > 1


def _check_sizes(where: str, constants: Constants, *arrays: Array) -> None:
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise InputError(
            f"{constants.reader.path}: {where}: scale, bias, mean and variance have the shapes "
            f"{', '.join(map(str, shapes))} where one and the same (C,) is needed"
        )
    if any(array.dtype.kind in "iubSUO" for array in arrays):
        raise InputError(f"{constants.reader.path}: {where}: its parameters are not floating-point numbers")
