"""In-place operations: where they are as good as their plain forms, and which tensors they change that others read.

An exported graph keeps `relu_` and `add_`, and views share memory with what they look at. A tensor that has one reader
at each step from its making to the write is safe: nobody sees the difference. All others are left alone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import call_of, operator_of, reads_shape_only, words
from normdiag.models.pytorch.torch_private import OpOverload, schema_of

# They may return their input itself, which their schemas do not say.
_MAY_RETURN_INPUT = words(
    """dropout alpha_dropout feature_dropout feature_alpha_dropout type_as channel_shuffle native_channel_shuffle pad
    constant_pad_nd to float half double contiguous reshape_as view_as expand_as"""
)
# Change no value, whatever their names say.
_HARMLESS = frozenset(("detach", "requires_grad", "lift_fresh"))


def changed_tensors(nodes: Iterable[Node]) -> Mapping[Node, Node]:
    """The tensors whose values change after they were made, where that could show: tensor to the node that writes."""
    changed: dict[Node, Node] = {}
    for node in nodes:
        for target in _written(node):
            if not _seen_by_one(target):
                changed.update((member, node) for member in _family(target))
    return changed


def is_in_place(node: Node) -> bool:
    """Whether a node writes into one of its arguments."""
    return bool(_written(node))


def _written(node: Node) -> list[Node]:
    if not isinstance(node.target, OpOverload) or operator_of(node) in _HARMLESS:
        return []
    named = call_of(node).args
    schema = schema_of(node.target).arguments
    written = [named.get(each.name) for each in schema if each.alias_info is not None and each.alias_info.is_write]
    flat = [one for each in written for one in (each if isinstance(each, (list, tuple)) else [each])]
    return [each for each in flat if isinstance(each, Node)]


def _seen_by_one(tensor: Node) -> bool:
    """Whether every tensor from here up to the one that owns the memory has a single reader, and no caller has it."""
    while True:
        if tensor.op != "call_function" or not _one_reader(tensor):
            return False
        source = _shares_with(tensor)
        if source is None:
            return True
        tensor = source


def _one_reader(tensor: Node) -> bool:
    readers = [user for user in tensor.users if not reads_shape_only(user)]
    if all(user.target is operator.getitem for user in readers):
        return len({user.args[1] for user in readers}) == len(readers)
    return len(readers) == 1


def _family(tensor: Node) -> set[Node]:
    """All tensors that may share memory with this one."""
    while (source := _shares_with(tensor)) is not None:
        tensor = source
    family, waiting = {tensor}, [tensor]
    while waiting:
        current = waiting.pop()
        fresh = [user for user in current.users if user not in family and _shares_with(user) is current]
        family.update(fresh)
        waiting += fresh
    return family


def _shares_with(node: Node) -> Node | None:
    """The input whose memory a node's output may be."""
    if node.op != "call_function":
        return None
    if node.target is operator.getitem:
        source = node.args[0]
        return source if isinstance(source, Node) else None
    if not isinstance(node.target, OpOverload):
        return None
    shared = any(each.alias_info is not None for each in schema_of(node.target).returns)
    if not shared and operator_of(node) not in _MAY_RETURN_INPUT:
        return None
    first = call_of(node).first
    return first if isinstance(first, Node) else None
