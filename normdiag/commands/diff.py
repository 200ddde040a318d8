"""`normdiag.diff`: two models beside each other, in what they store and in what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normdiag.comparison.contents import contents_of_graph, contents_of_tensors
from normdiag.comparison.static import compare_contents
from normdiag.data import DataOptions
from normdiag.data.specs import as_specs
from normdiag.errors import InputError, UsageError
from normdiag.graph import graph_of, open_model
from normdiag.models import LoadOptions, refuse_for_onnx
from normdiag.models.onnx.load import FLOATS
from normdiag.models.sniff import sniff
from normdiag.records import Model, NormLayer, Parameter
from normdiag.records.contents import LayerContents
from normdiag.results.compared import DiffResult
from normdiag.results.notebook import shows_progress

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, "int | None"], None]
# Samples that run together where nobody says otherwise: all values of a batch are held at once.
BATCH = 8
# Kinds of ops whose constants are told with them.
LAYERS = ("conv", "conv_transpose", "linear", "norm")


@dataclass(frozen=True, eq=False)
class OpenedSide:
    """One of the two models, and what it holds."""

    model: Model
    contents: tuple[LayerContents, ...]


@shows_progress("samples")
def diff(
    a: nn.Module | str | Path,
    b: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    load_options_b: LoadOptions | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> DiffResult:
    """Compare two models layer by layer: parameters, running statistics, eps, momentum, training flags.

    With `batches` or `data`, which are as for `inspect`, both run on them as well, in evaluation mode: how far they are
    apart after each layer, the first that rounding does not explain, and why. Modules are left as they are.

    `a` and `b` are live torch.nn.Modules or paths of model files of any format, in either order. `load_options` say how
    to read PyTorch files, `load_options_b` how to read `b` where that differs; ONNX files take none of them.
    `tolerance` is a relative difference that is accepted: of parameters as a share of their size, of statistics in
    stored standard deviations, of values as a share of the largest. Without it what rounding to the coarser dtype
    explains is accepted. `progress(samples, total)` is called after each batch.

    Raises InputError for a model that cannot be read, or run where there is data; UsageError for arguments that
    contradict each other.

    >>> import normdiag
    >>> apart = normdiag.diff("sample_models/digits_cnn.onnx", "sample_models/digits_cnn_training.onnx")
    >>> apart
    <DiffResult: 7 layers paired, 3 of them different.>
    >>> [each.a for each in apart.changed]
    ['norm1', 'norm2', 'norm3']
    """
    if batches is not None and data:
        raise UsageError("give either batches or data, not both")
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance:g}: give a relative difference of 0 or more, as 0.001")
    options = load_options or LoadOptions()
    sources = [Path(each) for each in (a, b) if isinstance(each, str | Path)]
    missing = [str(each) for each in sources if not each.exists()]
    if len(missing) > 1:
        raise InputError(f"{' and '.join(missing)}: no such files")
    if len(sources) == 2 and all(sniff(each) == "onnx" for each in sources):
        refuse_for_onnx(options, sources[0])
    run = batches is not None or bool(data)
    one, two = _open(a, options, run), _open(b, load_options_b or options, run)
    one_form = (one.model.info.backend == "onnx") == (two.model.info.backend == "onnx")
    layers, only_a, only_b = compare_contents(one.contents, two.contents, one_form=one_form)
    report = DiffResult(one.model.info, two.model.info, layers, only_a, only_b, tolerance)
    if not run:
        return report
    from normdiag.commands.diff_data import DataGiven, compare_on_data  # which a static comparison does without

    given = DataGiven(batches, as_specs(data), data_options or DataOptions(batch_size=BATCH))
    found = compare_on_data(one.model, two.model, given, layers, tolerance=tolerance, progress=progress)
    return replace(report, on_data=found)


def _open(source: Any, options: LoadOptions, run: bool) -> OpenedSide:
    if not isinstance(source, str | Path):
        return _of_module(open_model(source))
    path = Path(source)
    if sniff(path) == "onnx":
        return _of_onnx(open_model(path))
    model = open_model(path, options, run=run)
    if options.user_arch:  # whose modules are as the code left them, whatever the file was saved from
        return _of_module(replace(model, layers=tuple(replace(each, training=None) for each in model.layers)))
    if options.trust:
        return _of_module(model)
    from normdiag.models.load import read_weights
    from normdiag.models.static import norm_layers

    static = read_weights(path, options)
    norms = norm_layers(static)
    built = {layer.name: layer for layer in model.layers} if model.program is not None else {}
    norms = tuple(_told(norm, built.get(norm.name)) for norm in norms)
    packed = {} if static.quantized is None else static.quantized.sizes
    return OpenedSide(model, contents_of_tensors(static.tensors, norms, packed))


def _told(norm: NormLayer, built: NormLayer | None) -> NormLayer:
    """A layer of which the file has the weights alone, with what the module that was built for them says of it."""
    if built is None or norm.origin != "weights":
        return norm
    return replace(norm, kind=built.kind, eps=built.eps, groups=built.groups, normalized_rank=built.normalized_rank)


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
