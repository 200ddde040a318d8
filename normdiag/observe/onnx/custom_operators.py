"""Operators that onnxruntime does not know, as those of QONNX: what can be run without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from normdiag.models.onnx import ActivationSite, NormSite, OnnxProgram
from normdiag.models.onnx.parse import subgraphs, walk_nodes
from normdiag.observe.onnx.ort import import_onnxruntime
from normdiag.wording import abridged

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class RunnablePart:
    """The program up to such operators, None where it holds nothing to watch, and what the reader should know."""

    program: OnnxProgram | None
    note: str


def runnable_part(program: OnnxProgram) -> RunnablePart | None:
    """The part of a program that needs no operator which onnxruntime does not know; None where that is all of it.

    Layers and activations after such an operator stay in the program and say why they are not watched.
    """
    nodes = program.proto.graph.node
    unknown = [node for node in walk_nodes(nodes) if not _is_known(node)]
    if not unknown:
        return None
    kept = _independent(program.proto.graph)
    place = {index: new for new, index in enumerate(kept)}
    why = f"needs {_called(unknown[0])}"
    sites = tuple(_moved(site, place, why) for site in program.sites)
    activations = tuple(_moved(site, place, why) for site in program.activations)
    watched = [site for site in (*sites, *activations) if site.watchable]
    operators = abridged(list(dict.fromkeys(map(_called, unknown))))
    if not watched:
        return RunnablePart(None, f"onnxruntime does not know {operators}, which nearly everything comes after")
    part = replace(program, proto=_cut(program.proto, kept), sites=sites, activations=activations)
    return RunnablePart(part, f"onnxruntime does not know {operators}: only the part of the graph before it was run")


def _called(node: Any) -> str:
    return f"the operator {node.op_type} of {node.domain or 'ai.onnx'}"


def _is_known(node: Any) -> bool:
    domain = "" if node.domain in _STANDARD else node.domain
    return (domain, node.op_type) in _schemas()


@cache
def _schemas() -> frozenset[tuple[str, str]]:
    """The operators that onnxruntime knows, by domain and name."""
    import_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return frozenset(("" if s.domain in _STANDARD else s.domain, s.name) for s in state.get_all_operator_schema())


def _independent(graph: Any) -> list[int]:
    """The nodes that come after no operator that is not known, by index."""
    lost: set[str] = set()
    kept = []
    for index, node in enumerate(graph.node):
        inside = [each for body in subgraphs(node) for each in walk_nodes(body.node)]
        if lost.intersection(_reads(node)) or not all(map(_is_known, (node, *inside))):
            lost.update(node.output)
        else:
            kept.append(index)
    return kept


def _reads(node: Any) -> Iterator[str]:
    yield from node.input
    for body in subgraphs(node):
        for each in walk_nodes(body.node):
            yield from each.input


def _moved(site: Any, place: dict[int, int], why: str) -> Any:
    """A site with its nodes where they are in the part; one that is not in it says why."""
    site_: NormSite | ActivationSite = site
    if all(index in place for index in site_.nodes):
        return replace(site_, nodes=tuple(place[index] for index in site_.nodes))
    return replace(site_, obstacle=site_.obstacle or why)


def _cut(proto: Any, kept: Sequence[int]) -> Any:
    """A model of these nodes, whose outputs are those of the model that are left and what the other nodes read."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph, nodes = result.graph, list(proto.graph.node)
    del graph.node[:]
    graph.node.extend(nodes[index] for index in kept)
    made = {name for node in graph.node for name in node.output if name}
    chosen = set(kept)
    read = {name for index, node in enumerate(nodes) if index not in chosen for name in _reads(node)} & made
    outputs = [each for each in proto.graph.output if each.name in made]
    del graph.output[:]
    graph.output.extend(outputs or [onnx.ValueInfoProto(name=name) for name in sorted(read)])
    return result
