"""Names for layers: the module path that the exporter left in the graph, else the best name at hand, always unique."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from normdiag.graph.importers.onnx.nodes import Node

# Modules are not nested deeper; a hostile name may pretend to be.
MAX_DEPTH = 64
MAX_NAME = 10_000
SCOPES = "pkg.torch.onnx.name_scopes"
# torch.onnx numbers its nodes like this where it knows no better name: 'Conv_12', 'node_Add_3', 'n4_2'.
_NUMBERED = re.compile(r"(?:node_)?[A-Z]\w*_\d+|n\d+(?:_\d+)?|[A-Za-z]+__\d+|\d*")
_PARAMETER = re.compile(
    r"(?P<path>.+?)[./_](?:running_mean|running_var|moving_mean|moving_variance|moving_var|weight|bias|gamma|beta|scale"
    r"|mean|var)(?::0|/read(?:_?\w*)?)?"
)


@dataclass(frozen=True)
class Namer:
    """Gives names. `inner` are the module paths that hold further modules: a node there is a functional call."""

    inner: frozenset[str]

    def name(self, node: Node, parameters: Iterable[str], kind: str, folder: str = "") -> str:
        """The name of what `node` belongs to: module path, prefix of its parameters, node name or kind.

        A functional call in a module is called 'path.kind', as for PyTorch models. `folder` is preferred to the node
        name where the layer is made of several nodes.
        """
        path = module_path(node)
        if path is not None:
            return path if path and path not in self.inner else f"{path}.{kind}".lstrip(".")
        prefix = next((p for p in map(parameter_prefix, parameters) if p), None)
        if prefix is not None and (not node.name or _NUMBERED.fullmatch(node.name)):
            return prefix
        return folder or node.name or prefix or f"{kind}_{node.index}"


def make_namer(nodes: Iterable[Node]) -> Namer:
    """Learn from all nodes of a graph which module paths have modules inside."""
    inner: set[str] = set()
    for path in {module_path(node) for node in nodes}:
        parts = (path or "").split(".")
        inner.update(".".join(parts[:i]) for i in range(1, min(len(parts), MAX_DEPTH)))
    return Namer(frozenset(inner))


def module_path(node: Node) -> str | None:
    """'layer1.0.bn1' from exporter metadata or a node name such as '/layer1/layer1.0/bn1/Conv'; "" for the root."""
    scopes = _scopes(node)
    if scopes:
        return scopes[-2] if len(scopes) > 1 else ""
    if node.name.startswith("/") and len(node.name) < MAX_NAME:
        return _join(node.name.split("/")[1:-1])
    return None


def parameter_prefix(name: str) -> str | None:
    """'layer1.0.bn1' from 'layer1.0.bn1.weight'."""
    match = _PARAMETER.fullmatch(name)
    return match["path"] if match and not match["path"].startswith("onnx::") else None


def shared_folder(names: Iterable[str]) -> str:
    """The folder that slash-separated node names share: 'model/layer_normalization', "" if there is none."""
    shared = []
    for level in zip(*(name.split("/")[:-1] for name in names), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared)


def unique(names: Iterable[str]) -> list[str]:
    """The same names with '_2', '_3' ... added where one comes again, as for PyTorch models."""
    seen: set[str] = set()
    result = []
    counts: dict[str, int] = {}
    for name in names:
        candidate = name
        while candidate in seen:
            counts[name] = counts.get(name, 1) + 1
            candidate = f"{name}_{counts[name]}"
        seen.add(candidate)
        result.append(candidate)
    return result


def _scopes(node: Node) -> list[str]:
    """The module paths from the root to the call, as torch.onnx writes them: "['', 'layer1', 'layer1.0', 'conv2d']"."""
    text = next((p.value for p in node.proto.metadata_props if p.key == SCOPES), "")
    if not isinstance(text, str) or not text.startswith("['") or len(text) > MAX_NAME:
        return []
    if "\\" not in text and '"' not in text:
        return text[2:].removesuffix("']").split("', '")
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return scopes if isinstance(scopes, list) and all(isinstance(s, str) for s in scopes) else []


def _join(parts: list[str]) -> str:
    """'layer1', 'layer1.0', 'bn1' to 'layer1.0.bn1': children of containers repeat the container's name."""
    joined: list[str] = []
    for part in parts:
        if joined and part.startswith(joined[-1] + "."):
            joined[-1] = part
        elif part:
            joined.append(part)
    return ".".join(joined)
