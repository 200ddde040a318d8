"""`normdiag.diff`: two models beside each other, in what they store and in what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normdiag.comparison.contents import contents_of_graph, contents_of_tensors
from normdiag.comparison.static import compare_contents
from normdiag.errors import UsageError
from normdiag.graph import graph_of, open_model
from normdiag.models import LoadOptions
from normdiag.models.onnx.load import FLOATS
from normdiag.models.sniff import sniff
from normdiag.records import Model, Parameter
from normdiag.records.contents import LayerContents
from normdiag.records.diff import DiffReport

if TYPE_CHECKING:
    from torch import nn

# Kinds of ops whose constants are told with them.
LAYERS = ("conv", "conv_transpose", "linear", "norm")


@dataclass(frozen=True, eq=False)
class OpenedSide:
    """One of the two models, and what it holds."""

    model: Model
    contents: tuple[LayerContents, ...]


def diff(
    a: nn.Module | str | Path,
    b: nn.Module | str | Path,
    *,
    load_options: LoadOptions | None = None,
    load_options_b: LoadOptions | None = None,
    tolerance: float | None = None,
) -> DiffReport:
    """Compare two models layer by layer: parameters, running statistics, eps, momentum, training flags.

    `a` and `b` are live torch.nn.Modules or paths of model files of any format, in either order. `load_options` say how
    to read PyTorch files, `load_options_b` how to read `b` where that differs; ONNX files take none of them.
    `tolerance` is a relative difference that is accepted: of parameters as a share of their size, of statistics in
    stored standard deviations. Without it what rounding to the coarser dtype explains is accepted.

    Raises InputError for a model that cannot be read, UsageError for arguments that contradict each other.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance:g}: give a relative difference of 0 or more, as 0.001")
    options = load_options or LoadOptions()
    one, two = _open(a, options), _open(b, load_options_b or options)
    one_form = (one.model.info.backend == "onnx") == (two.model.info.backend == "onnx")
    layers, only_a, only_b = compare_contents(one.contents, two.contents, one_form=one_form)
    return DiffReport(one.model.info, two.model.info, layers, only_a, only_b, tolerance)


def _open(source: Any, options: LoadOptions) -> OpenedSide:
    if not isinstance(source, str | Path):
        return _of_module(open_model(source))
    path = Path(source)
    if sniff(path) == "onnx":
        return _of_onnx(open_model(path))
    model = open_model(path, options)
    if model.program is not None:
        return _of_module(model)
    from normdiag.models.load import read_weights

    return OpenedSide(model, contents_of_tensors(read_weights(path, options).tensors, model.layers))


def _of_module(model: Model) -> OpenedSide:
    from normdiag.models.pytorch.arrays import to_numpy
    from normdiag.models.pytorch.layers import unwrap

    state = unwrap(model.program).state_dict()
    tensors = {name.replace("_orig_mod.", ""): each for name, each in state.items() if hasattr(each, "detach")}
    return OpenedSide(
        model, contents_of_tensors({name: to_numpy(each) for name, each in tensors.items()}, model.layers)
    )


def _of_onnx(model: Model) -> OpenedSide:
    graph = graph_of(model)
    assert graph is not None  # it is an ONNX model
    proto, reader = model.program.proto.graph, model.program.reader
    of_layers = {name for op in graph.ops if op.kind in LAYERS for i in op.nodes for name in proto.node[i].input}
    stored = {
        tensor.name: Parameter(tensor.name, tuple(tensor.dims), "float32", partial(reader.array, tensor))
        for tensor in proto.initializer
        if tensor.data_type in FLOATS and np.prod(tensor.dims) > 1 and tensor.name not in of_layers
    }
    return OpenedSide(model, contents_of_graph(graph, stored))
