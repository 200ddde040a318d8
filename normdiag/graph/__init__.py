"""The computation of a model without its framework: read by importers, one for each framework, into one OpGraph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.models import LoadOptions, from_module, load
from normdiag.models.info import without_statistics
from normdiag.records import Model, OpGraph

if TYPE_CHECKING:
    from torch import nn

__all__ = ["graph_of", "open_model"]


def open_model(model: nn.Module | str | Path, options: LoadOptions | None = None, *, run: bool = False) -> Model:
    """A model file or a live module with its normalization layers; built as well where it is to `run`.

    Raises InputError for what cannot be read, UsageError for options that do not go with the file.
    """
    if not isinstance(model, str | Path):
        return from_module(model)
    loaded = load(Path(model), options, run=run)
    loaded = replace(loaded, reading=() if options is None else options.words)
    return _with_layers(loaded) if loaded.info.backend == "onnx" else loaded


def _with_layers(model: Model) -> Model:
    from normdiag.graph.importers.onnx import with_layers

    program = with_layers(model.program)
    layers = tuple(site.layer for site in program.sites)
    parameters = without_statistics(program.parameters, layers)
    return replace(
        model,
        layers=layers,
        program=program,
        info=replace(model.info, parameters=parameters, notes=program.notes),
        folded=program.folded,
        skipped=program.skipped,
    )


def graph_of(model: Model) -> OpGraph | None:
    """The computation of an ONNX model; None of any other, which would have to be exported first.

    Raises InputError where the graph contradicts itself.
    """
    if model.info.backend != "onnx" or model.program is None:
        return None
    from normdiag.graph.importers.onnx import op_graph

    return op_graph(model.program.proto, model.program.reader, model.program.sites, model.program.view)
