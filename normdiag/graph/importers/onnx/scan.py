"""Everything of interest in one graph and its subgraphs, in graph order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from normdiag.graph.importers.onnx.activations import activation_sites
from normdiag.graph.importers.onnx.features import Axes, feature_axes
from normdiag.graph.importers.onnx.names import Namer, make_namer, shared_folder
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.graph.importers.onnx.norm_operators import Surroundings, operator_site
from normdiag.graph.importers.onnx.steps import OnnxTensors
from normdiag.graph.importers.onnx.view import GraphView
from normdiag.graph.recognise.normals import find_normals
from normdiag.graph.recognise.terms import Normal
from normdiag.graph.recognise.written_out import WrittenOut, written_out
from normdiag.models.onnx.parse import subgraphs
from normdiag.models.onnx.program import ActivationSite, NormSite

IN_SUBGRAPH = "it lies in the body of an If, Loop or Scan, whose tensors cannot be read from outside"
Found = NormSite | ActivationSite | str


def scan(view: GraphView, outer: Axes | None = None) -> Iterator[Found]:
    """Normalization sites, activation sites and notes, those of a subgraph where the node that holds it stands.

    Names are not unique yet. `outer` are the axes of the features in the graphs around this one.
    """
    graph, tensors = view.graph, OnnxTensors(view)
    normals, terms = find_normals(tensors.steps.values(), tensors)
    axes = feature_axes(graph, view.book, outer)
    namer = make_namer(graph.nodes)
    scope = Surroundings(view, terms)
    decomposed = _decomposed(tensors, namer, normals)
    activations = activation_sites(tensors, axes)
    inside = {index for site in decomposed.values() for index in site.nodes}
    for node in graph.nodes:
        if node.index in decomposed:
            yield decomposed[node.index]
        else:
            yield from _operator(node, scope, namer)
        if node.index in activations and node.index not in inside:
            site = activations[node.index]
            yield replace(site, name=namer.name(node, (), site.function.kind))
        for body in subgraphs(node.proto):
            yield from _scan_body(view.body(body), axes)


def _operator(node: Node, scope: Surroundings, namer: Namer) -> Iterator[Found]:
    """What standardizes a weight, as the convolutions of BiT do, is no norm."""
    site = None if scope.constants.is_constant(node.input(0)) else operator_site(node, scope)
    if isinstance(site, str):
        yield f"norm node {node.name or node.outputs[0]!r}: {node.op} {site}; not analysed"
    elif site is not None:
        parameters = (node.input(3), *node.inputs[1:])
        name = namer.name(node, parameters, site.layer.kind)
        yield replace(site, layer=replace(site.layer, name=name))


def _scan_body(view: GraphView, outer: Axes) -> Iterator[Found]:
    for found in scan(view, outer):
        if isinstance(found, str) or found.where == "subgraph":
            yield found
        else:
            yield replace(found, nodes=(), where="subgraph", obstacle=IN_SUBGRAPH)


def _decomposed(tensors: OnnxTensors, namer: Namer, normals: tuple[Normal, ...]) -> Mapping[int, NormSite]:
    """The sites of decomposed normalization by the index of the node that completes the normalization."""
    constants = tensors.view.constants
    layers = (written_out(each, tensors) for each in normals if not constants.is_constant(each.tensor))
    return {each.core: _site(each, tensors.graph, namer) for each in layers if each is not None}


def _site(found: WrittenOut, graph: Graph, namer: Namer) -> NormSite:
    folder = shared_folder(graph.nodes[i].name for i in found.nodes)
    name = namer.name(graph.nodes[found.core], (found.gamma, found.beta), found.layer.kind, folder)
    return NormSite(
        replace(found.layer, name=name),
        found.input,
        found.output,
        found.nodes,
        axes=found.axes,
        channel_axis=found.channel_axis,
        rank=found.rank,
        obstacle=found.obstacle,
        parameters=(found.gamma, found.beta),
    )
