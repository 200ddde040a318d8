"""Read an ONNX file into an OnnxProgram."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from normdiag.models.onnx.constants import Constants, make_constants
from normdiag.models.onnx.external import TensorReader, all_tensors
from normdiag.models.onnx.graph import Graph, make_graph
from normdiag.models.onnx.operators import batch_norm
from normdiag.models.onnx.parse import inline_functions, parse_model, subgraphs
from normdiag.models.onnx.program import NormSite, OnnxProgram


def load_onnx(path: Path) -> OnnxProgram:
    """The program in an ONNX file. Nothing is run, and of external data only norm parameters are read.

    Raises InputError where the file is damaged, incomplete, or points outside its folder.
    """
    model = inline_functions(parse_model(path), path)
    reader = TensorReader(path)
    for tensor in all_tensors(model.graph):
        reader.check(tensor)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    graph = make_graph(model.graph, opset)
    notes: list[str] = []
    sites = _sites(graph, make_constants(graph, reader), notes)
    return OnnxProgram(model, path.parent, tuple(sites), notes=tuple(notes))


def _sites(graph: Graph, constants: Constants, notes: list[str]) -> list[NormSite]:
    found: list[NormSite] = []
    for node in graph.nodes:
        if node.op == "BatchNormalization" and not node.domain:
            site = batch_norm(node, constants, graph.opset)
            if isinstance(site, str):
                notes.append(f"norm node {node.name!r}: BatchNormalization {site}; not analysed")
            elif graph.parent is None:
                found.append(site)
            else:
                found.append(replace(site, nodes=(), where="subgraph", obstacle="it lies in a subgraph"))
        for body in subgraphs(node.proto):
            inner = make_graph(body, graph.opset, graph)
            found += _sites(inner, make_constants(inner, constants.reader, constants), notes)
    return found
