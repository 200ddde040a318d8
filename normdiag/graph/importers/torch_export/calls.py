"""One node of an exported graph as a call: its operator by name, its arguments by name, what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from normdiag.models.pytorch.torch_private import OpOverload, schema_of
from normdiag.records import Size
from normdiag.records.ops import Sizes

Shape = tuple[int, ...]


def words(text: str) -> frozenset[str]:
    """A set of names, written as a sentence."""
    return frozenset(text.split())


# What these return, or check, depends on the sizes and the dtype of their input and not on its values.
_SHAPE_ONLY = words(
    """sym_size sym_numel sym_stride sym_storage_offset sym_is_contiguous size numel dim is_same_size
    _assert_tensor_metadata zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty new_empty_strided"""
)


@dataclass(frozen=True, eq=False)
class Call:
    """A node, its `operator` ('conv2d': no namespace, overload, nor the _ of in-place forms) and named arguments."""

    node: Node
    operator: str
    overload: str
    args: Mapping[str, Any]

    @property
    def first(self) -> Any:
        """The first argument: for nearly all operators the data."""
        return next(iter(self.args.values()), None)


def call_of(node: Node) -> Call:
    """The call that a node makes, defaults filled in from the schema; without arguments for what has no schema."""
    target = node.target
    if not isinstance(target, OpOverload):
        return Call(node, operator_of(node), "", dict(enumerate(node.args)))  # type: ignore[arg-type]
    return Call(node, operator_of(node), target._overloadname, _arguments(node, target))


def operator_of(node: Node) -> str:
    """'conv2d' for aten.conv2d.padding, 'relu' for aten.relu_, 'library.name' for what others have registered."""
    target = node.target
    if not isinstance(target, OpOverload):
        return getattr(target, "__name__", None) or str(target)
    namespace, _, name = schema_of(target).name.partition("::")
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name if namespace == "aten" else f"{namespace}.{name}"


def reads_shape_only(node: Node) -> bool:
    """Whether the values of its inputs do not matter to a node."""
    return operator_of(node) in _SHAPE_ONLY


def is_tensor(node: Node) -> bool:
    """Whether a node's value is one tensor."""
    return isinstance(node.meta.get("val"), torch.Tensor)


def holds_tensors(node: Node) -> bool:
    """Whether a node's value is a tensor or has tensors in it."""
    value = node.meta.get("val")
    return any(isinstance(each, torch.Tensor) for each in (value if isinstance(value, (list, tuple)) else (value,)))


def parts_of(node: Node) -> tuple[torch.Tensor, ...] | None:
    """The (fake) tensors of a node that returns several, else None."""
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, torch.Tensor) for each in value):
        return tuple(value)
    return None


def sizes_of(node: Node) -> Sizes:
    """The dimensions of a node's tensor."""
    return tuple(_size(each) for each in node.meta["val"].shape)


def shape_of(node: Node) -> Shape | None:
    """The dimensions where all are known numbers."""
    known = tuple(size.known for size in sizes_of(node))
    return None if None in known else known  # type: ignore[return-value]


def rank_of(node: Node) -> int:
    """The number of dimensions of a node's tensor."""
    return len(node.meta["val"].shape)


def dtype_of(node: Node) -> torch.dtype:
    """The element type of a node's tensor."""
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """The name that numpy or ml_dtypes has for it."""
    return str(dtype).removeprefix("torch.")


def module_of(node: Node) -> tuple[str, str, str]:
    """The innermost module that a node runs in: which call of it, its path, its class name. '' for the model itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).items())
    if not stack or not isinstance(stack[-1][1], tuple):
        return "", "", ""
    key, (path, kind) = stack[-1]
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return str(key), str(path), name.rpartition(".")[2]


def axes_of(value: Any, rank: int) -> tuple[int, ...]:
    """Axes given as a number, a list, or None for all, as sorted numbers from 0."""
    listed = [value] if isinstance(value, int) else list(value or range(rank))
    return tuple(sorted(axis % rank for axis in listed)) if rank else ()


def _arguments(node: Node, target: OpOverload) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for position, argument in enumerate(schema_of(target).arguments):
        if position < len(node.args):
            values[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            values[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            values[argument.name] = argument.default_value
    return values


def _size(dimension: Any) -> Size:
    """A number, a number times free dimensions, or else a free dimension of its own, named by its formula."""
    if isinstance(dimension, int):
        return Size(dimension)
    expression = dimension.node.expr
    if expression.is_Integer:
        return Size(int(expression))
    factor, rest = expression.as_coeff_Mul()
    powers = rest.as_powers_dict()
    whole = factor.is_Integer and factor > 0
    if whole and all(base.is_Symbol and power.is_Integer and power > 0 for base, power in powers.items()):
        symbols = sorted(str(base) for base, power in powers.items() for _ in range(int(power)))
        return Size(int(factor), tuple(symbols))
    return Size(1, (str(expression),))
