"""DepthToSpace and SpaceToDepth, which move channels to positions and back: a reshape, a transpose and a reshape."""

from __future__ import annotations

from collections.abc import Mapping

from normdiag.graph.importers.onnx.attributes import Unclear, integer, text
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import GraphScope, Rule, UnnamedOp
from normdiag.graph.shuffles import depth_to_space, space_to_depth
from normdiag.records import Reshape, Sizes, Transpose

NOT_KNOWN = "which moves channels between positions, of a number that is not known"


def _depth_to_space(scope: GraphScope, node: Node) -> UnnamedOp:
    sizes, block = _sizes(scope, node)
    moved = depth_to_space(sizes, block, block_first=text(node, "mode", "DCR") != "CRD")
    if moved is None:
        raise Unclear(NOT_KNOWN)
    return _moved(node, *moved)


def _space_to_depth(scope: GraphScope, node: Node) -> UnnamedOp:
    sizes, block = _sizes(scope, node)
    if sizes[1].known is None or any(size.known is not None and size.known % block for size in sizes[2:]):
        raise Unclear(NOT_KNOWN)
    return _moved(node, *space_to_depth(sizes, block, node.outputs[0], block_first=True))


def _sizes(scope: GraphScope, node: Node) -> tuple[Sizes, int]:
    sizes, block = scope.book.of(node.inputs[0]), integer(node, "blocksize", 0)
    if sizes is None or len(sizes) != 4 or block < 1:
        raise Unclear(NOT_KNOWN)
    return sizes, block


def _moved(node: Node, inner: Sizes, perm: tuple[int, ...]) -> UnnamedOp:
    data = (node.inputs[0],)
    turned = UnnamedOp("transpose", data, Transpose(perm), sizes=tuple(inner[axis] for axis in perm))
    return UnnamedOp("reshape", data, Reshape(), sizes=inner).followed_by(turned, UnnamedOp("reshape", data, Reshape()))


DEPTH_RULES: Mapping[str, Rule] = {"DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth}
