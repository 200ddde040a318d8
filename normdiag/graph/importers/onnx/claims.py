"""The nodes that normalization layers are made of."""

from __future__ import annotations

from normdiag.graph.importers.onnx.names import make_namer, unique
from normdiag.graph.importers.onnx.norms import (
    decomposed_norm,
    operator_norm,
    unread_batch_norm,
    unseen_batch_norms,
)
from normdiag.graph.importers.onnx.scope import Claim, GraphScope
from normdiag.graph.importers.onnx.sites import Sites
from normdiag.records import NormLayer

Lost = tuple[NormLayer, str]


def norm_claims(scope: GraphScope, sites: Sites) -> tuple[tuple[Claim, ...], tuple[Lost, ...]]:
    """The layers as operations, and those that are not one operation, with the reason."""
    claims: list[Claim] = []
    lost: list[Lost] = []
    for site in sites.main:
        if site.layer.origin != "decomposed":
            claims.append(operator_norm(scope, scope.graph.nodes[site.nodes[0]], site))
            continue
        found = decomposed_norm(scope, site)
        if isinstance(found, Claim):
            claims.append(found)
        else:
            lost.append((site.layer, found))
    claims += _unread(scope, sites)
    return tuple(claims), tuple(lost)


def _unread(scope: GraphScope, sites: Sites) -> list[Claim]:
    nodes = [node for site in sites.main for node in site.nodes]
    unseen = list(unseen_batch_norms(scope, nodes))
    if not unseen:
        return []
    namer = make_namer(scope.graph.nodes)
    taken = [site.layer.name for site in sites.main]
    names = [namer.name(node, (node.input(3), *node.inputs[1:]), "batch_norm") for node in unseen]
    given = unique([*taken, *names])[len(taken) :]
    return [unread_batch_norm(scope, node, name) for node, name in zip(unseen, given, strict=True)]
