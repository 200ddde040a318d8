"""Attributes of a node, checked: one of the wrong type must not pass for its default."""

from __future__ import annotations

from typing import Any

from normdiag.graph.importers.onnx.nodes import Node

# onnx.AttributeProto types, by their numbers; 0 is what old exporters leave out.
UNTYPED = 0
FLOAT, INT, STRING, TENSOR, FLOATS, INTS = 1, 2, 3, 4, 6, 7


class Unclear(Exception):  # noqa: N818  (no error of the user's: it ends as an Opaque operation)
    """A node that cannot be read as what it seems to be; the message completes 'it comes from X, ...'."""


def integer(node: Node, name: str, default: int) -> int:
    """An integer attribute."""
    found = _typed(node, name, INT)
    return default if found is None else int(found.i)


def number(node: Node, name: str, default: float) -> float:
    """A float attribute, exactly as it is stored."""
    found = _typed(node, name, FLOAT)
    return default if found is None else float(found.f)


def integers(node: Node, name: str) -> tuple[int, ...] | None:
    """A list of integers, None where it is not given."""
    found = _typed(node, name, INTS)
    return None if found is None else tuple(int(i) for i in found.ints)


def numbers(node: Node, name: str) -> tuple[float, ...] | None:
    """A list of floats, None where it is not given."""
    found = _typed(node, name, FLOATS)
    return None if found is None else tuple(float(f) for f in found.floats)


def text(node: Node, name: str, default: str) -> str:
    """A string attribute."""
    found = _typed(node, name, STRING)
    return default if found is None else found.s.decode("utf-8", "replace")


def axis_of(node: Node, default: int, rank: int | None) -> int:
    """The attribute `axis`, counted from 0 where the rank is known."""
    return counted(integer(node, "axis", default), rank)


def counted(axis: int, rank: int | None) -> int:
    """An axis counted from 0 where the rank is known."""
    if rank is None:
        return axis
    if not -rank <= axis < rank:
        raise Unclear(f"with axis {axis} of a tensor of {rank} dimensions")
    return axis % rank


def counted_all(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Axes counted from 0, ascending, each once."""
    found = tuple(sorted({counted(axis, rank) for axis in axes}))
    if len(found) != len(axes):
        raise Unclear("which names an axis twice")
    return found


def _typed(node: Node, name: str, kind: int) -> Any:
    found = node.attribute(name)
    if found is None:
        return None
    if found.type not in (kind, UNTYPED):
        raise Unclear(f"whose attribute {name!r} is of the wrong type")
    return found
