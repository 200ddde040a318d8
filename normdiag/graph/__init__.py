"""The computation of a model without its framework: read by importers, one for each framework, into one OpGraph."""

from __future__ import annotations

from normdiag.records import Model, OpGraph


def graph_of(model: Model) -> OpGraph | None:
    """The computation of an ONNX model; None of any other, which would have to be exported first.

    Raises InputError where the graph contradicts itself.
    """
    if model.info.backend != "onnx" or model.program is None:
        return None
    from normdiag.graph.importers.onnx import op_graph

    return op_graph(model.program.proto, model.program.reader, model.program.sites)
