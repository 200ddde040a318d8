"""DepthToSpace and SpaceToDepth, which move channels to positions and back: a reshape, a transpose and a reshape."""

from __future__ import annotations

from collections.abc import Mapping

from normdiag.graph.importers.onnx.attributes import Unclear, integer, text
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Draft, Rule, Scope
from normdiag.graph.sizes import quotient
from normdiag.records import Reshape, Size, Sizes, Transpose

NOT_KNOWN = "which moves channels between positions, of a number that is not known"


def _depth_to_space(scope: Scope, node: Node) -> Draft:
    """(N, b b C, H, W) read as (N, b, b, C, H, W), or for the mode CRD as (N, C, b, b, H, W); to (N, C, H, b, W, b)."""
    (samples, depth, height, width), block = _sizes(scope, node)
    channels = quotient(depth, Size(block.factor * block.factor))
    if channels is None:
        raise Unclear(NOT_KNOWN)
    if text(node, "mode", "DCR") == "CRD":
        return _moved(node, (samples, channels, block, block, height, width), (0, 1, 4, 2, 5, 3))
    return _moved(node, (samples, block, block, channels, height, width), (0, 3, 4, 1, 5, 2))


def _space_to_depth(scope: Scope, node: Node) -> Draft:
    """(N, C, H b, W b) read as (N, C, H, b, W, b), to (N, b, b, C, H, W)."""
    (samples, channels, *space), block = _sizes(scope, node)
    if channels.known is None or any(size.known is not None and size.known % block.factor for size in space):
        raise Unclear(NOT_KNOWN)
    symbols = (Size(1, (f"{node.outputs[0]}/{axis}",)) for axis in "hw")
    height, width = (quotient(size, block) or symbol for size, symbol in zip(space, symbols, strict=True))
    return _moved(node, (samples, channels, height, block, width, block), (0, 3, 5, 1, 2, 4))


def _sizes(scope: Scope, node: Node) -> tuple[Sizes, Size]:
    sizes, block = scope.book.of(node.inputs[0]), integer(node, "blocksize", 0)
    if sizes is None or len(sizes) != 4 or block < 1:
        raise Unclear(NOT_KNOWN)
    return sizes, Size(block)


def _moved(node: Node, inner: Sizes, perm: tuple[int, ...]) -> Draft:
    data = (node.inputs[0],)
    turned = Draft("transpose", data, Transpose(perm), sizes=tuple(inner[axis] for axis in perm))
    return Draft("reshape", data, Reshape(), sizes=inner).followed_by(turned, Draft("reshape", data, Reshape()))


DEPTH_RULES: Mapping[str, Rule] = {"DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth}
