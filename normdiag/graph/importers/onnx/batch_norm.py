"""BatchNormalization of all operator sets from 7 on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from normdiag.errors import InputError
from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.filled import filled_with
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.view import GraphView
from normdiag.graph.recognise.terms import Moment, Term
from normdiag.graph.recognise.written_out import BATCH_STATISTICS
from normdiag.models.onnx.program import NormSite
from normdiag.records import NormLayer
from normdiag.records.model import Array

OLDEST_OPSET = 7
# How torch.onnx writes an InstanceNorm with running statistics: x of shape (1, N * C, ...), parameters N times over.
ONE_SAMPLE = "its input is reshaped to a single sample, so that samples cannot be told apart"


def batch_norm(node: Node, view: GraphView, terms: Mapping[str, Term]) -> NormSite | str:
    """The site of a BatchNormalization node, or the reason why it is not analysed as one.

    Raises InputError where its parameters are missing or do not fit together.
    """
    constants, opset = view.constants, view.graph.opset
    where = f"{constants.reader.path}: BatchNormalization {node.name or node.outputs[0]!r}"
    if opset < OLDEST_OPSET:
        return f"of operator set {opset} (the oldest that is understood is {OLDEST_OPSET}; convert the model first)"
    if node.integer("spatial", 1) == 0:
        return "with spatial=0, which has statistics for every position"
    if len(node.inputs) < 5 or not all(node.inputs[:5]):
        raise InputError(f"{where} has {len(node.inputs)} inputs instead of 5")
    tiled = _in_one_sample(node, view)
    mean, var = (_array(name, constants, tiled) for name in node.inputs[3:5])
    gamma, beta = (_affine(name, constants, mean, tiled) for name in node.inputs[1:3])
    known = [array for array in (gamma, beta, mean, var) if array is not None]
    _check(where, known)
    batch = mean is None and var is None and _of_the_batch(node, view, terms)
    if len(known) < 4 and not (batch and len(known) == 2):
        return "whose parameters are computed by the graph (a LayerNorm written as one?)"
    channels = None if batch else _repeated(node, view, known)
    if channels is not None:
        gamma, beta, mean, var = (None if each is None else each[:channels] for each in (gamma, beta, mean, var))
    layer = NormLayer(
        name=node.name,
        kind="batch_norm" if channels is None else "instance_norm",
        origin="operator",
        channels=channels or int(known[0].size),
        eps=node.number("epsilon", 1e-5),
        momentum=torch_momentum(node.number("momentum", 0.9)),
        gamma=gamma,
        beta=beta,
        running_mean=mean,
        running_var=var,
        training=batch or is_training(node, opset),
        class_name=node.op,
        notes=(BATCH_STATISTICS,) if batch else (),
    )
    rank = view.book.listed_rank(node.inputs[0])
    obstacle = BATCH_STATISTICS if batch else ONE_SAMPLE if tiled else None
    return NormSite(layer, node.inputs[0], node.outputs[0], (node.index,), rank=rank, obstacle=obstacle)


def torch_momentum(momentum: float) -> float:
    """ONNX weighs the old statistics with momentum, PyTorch the new ones."""
    return round(1.0 - momentum, 9)


def is_training(node: Node, opset: int) -> bool:
    """Opset 14 has an attribute for it; before, only a training graph asked for more than one output."""
    if opset >= 14:
        return node.integer("training_mode", 0) != 0
    return sum(map(bool, node.outputs)) > 1


def _of_the_batch(node: Node, view: GraphView, terms: Mapping[str, Term]) -> bool:
    """Whether it normalizes with its input's own statistics over all axes but 1 (track_running_stats=False).

    Either because it is in training mode, where the mean and variance that it reads are merely averaged with the
    batch's (torch's older exporter computes some for it), or because these are the input's own. Not after a Reshape:
    Keras writes LayerNorm as a BatchNormalization of the input reshaped to one sample.
    """
    constants = view.constants
    x, rank = node.inputs[0], view.book.listed_rank(node.inputs[0])
    producer = constants.graph.producer(constants.graph.root(x))
    if producer is not None and producer.op == "Reshape":
        return False
    return is_training(node, view.graph.opset) or (rank is not None and _are_moments(node, constants, terms, rank))


def _are_moments(node: Node, constants: OnnxConstants, terms: Mapping[str, Term], rank: int) -> bool:
    """Whether the mean and variance that it reads are those of its input over all axes but 1."""
    mean, var = terms.get(node.inputs[3]), terms.get(node.inputs[4])
    return (
        isinstance(mean, Moment)
        and isinstance(var, Moment)
        and (mean.kind, var.kind) == ("mean", "variance")
        and mean.span == var.span
        and mean.span.x == constants.graph.root(node.inputs[0])
        and mean.span.axes == (0, *range(2, rank))
        and not (mean.total or var.total or mean.power != 1.0 or var.power != 1.0 or var.eps)
    )


def _array(name: str, constants: OnnxConstants, tiled: bool) -> Array | None:
    """A constant; `tiled`: or the one that stands there as often as there are samples."""
    array = constants.array(name)
    producer = constants.graph.producer(name) if array is None and tiled else None
    return constants.array(producer.input(0)) if producer is not None and producer.op == "Tile" else array


def _affine(name: str, constants: OnnxConstants, statistics: Array | None, tiled: bool) -> Array | None:
    """A gamma or beta; torch makes up the one that a norm does not have from the size of its input."""
    array = _array(name, constants, tiled)
    fill = filled_with(name, constants) if array is None and statistics is not None else None
    return array if fill is None or statistics is None else np.full(statistics.shape, fill, statistics.dtype)


def _repeated(node: Node, view: GraphView, arrays: list[Array]) -> int | None:
    """The channels of an InstanceNorm with running statistics: those of N samples side by side, parameters N times."""
    if not _in_one_sample(node, view):
        return None
    reshape = view.graph.producer(node.inputs[0])
    before = view.book.listed(reshape.inputs[0]) if reshape is not None else None
    channels = before[1] if before is not None and len(before) > 2 else None
    computed = any(view.constants.array(name) is None for name in node.inputs[3:5])
    if not channels or any(array.size % channels or (array.size == channels) is not computed for array in arrays):
        return None
    alike = all((array.reshape(-1, channels) == array[:channels]).all() for array in arrays)
    return channels if alike else None


def _in_one_sample(node: Node, view: GraphView) -> bool:
    producer = view.graph.producer(node.inputs[0])
    if producer is None or producer.op != "Reshape":
        return False
    statistics = view.graph.producer(node.inputs[3])
    target: Sequence[int | None] | None = view.constants.integers(producer.input(1))
    if target is None and statistics is not None and statistics.op == "Tile":
        target = view.book.listed(node.inputs[0])
    return target is not None and len(target) > 1 and target[0] == 1


def _check(where: str, arrays: list[Array]) -> None:
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or any(len(shape) != 1 for shape in shapes):
        raise InputError(
            f"{where}: its scale, bias, mean and variance have the shapes {', '.join(map(str, shapes))} "
            "where one and the same (C,) is needed"
        )
    if any(array.dtype.kind in "iubSUO" for array in arrays):
        raise InputError(f"{where}: its parameters are not floating-point numbers")
