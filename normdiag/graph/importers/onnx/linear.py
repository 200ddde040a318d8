"""Convolutions and products with a constant matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from normdiag.graph.importers.onnx.attributes import Unclear, integer, integers, number, text
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Claim, GraphScope, Rule, UnnamedOp
from normdiag.graph.recognise.einsum import NO_MATRIX, einsum_axes
from normdiag.graph.recognise.einsum import TWO_TENSORS as TENSORS_IN_EINSUM
from normdiag.records import Conv, Linear, Parameter, Sizes

MISFIT = "whose parameters do not fit together"
TWO_TENSORS = "a product of two tensors"


def _conv(scope: GraphScope, node: Node) -> UnnamedOp:
    weight = scope.store.parameter(node.input(1), "weight")
    bias = scope.store.optional(node.input(2), "bias")
    groups, transposed = integer(node, "group", 1), node.op == "ConvTranspose"
    spatial = len(weight.shape) - 2
    if (
        spatial < 1
        or groups < 1
        or weight.shape[0] % groups
        or scope.book.rank(node.inputs[0]) not in (None, spatial + 2)
    ):
        raise Unclear(MISFIT)
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (channels,):
        raise Unclear(MISFIT)
    padded = _spills(node, weight.shape[2:]) if transposed else _padded(node, weight.shape[2:])
    strides, dilations = _list(node, "strides", spatial, 1), _list(node, "dilations", spatial, 1)
    pads = None if transposed else _pads(node, weight.shape[2:], strides, dilations)
    if transposed and text(node, "auto_pad", "NOTSET") == "NOTSET" and node.attribute("output_shape") is None:
        pads = _list(node, "pads", 2 * spatial, 0)
    detail = Conv(weight, bias, groups, transposed, padded, strides, dilations, pads)
    return UnnamedOp("conv_transpose" if transposed else "conv", (node.inputs[0],), detail)


def _padded(node: Node, kernel: tuple[int, ...]) -> bool:
    """Whether zeros are put around the input. SAME puts none around a kernel of one position."""
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        return any(_list(node, "pads", 2 * len(kernel), 0))
    return mode != "VALID" and any(size > 1 for size in kernel)


def _pads(
    node: Node, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...] | None:
    """All beginnings, then all ends. With SAME they depend on the size of the input, unless every stride is 1."""
    mode, count = text(node, "auto_pad", "NOTSET"), len(kernel)
    if mode in ("NOTSET", "VALID"):
        return _list(node, "pads", 2 * count, 0) if mode == "NOTSET" else (0,) * (2 * count)
    if any(stride != 1 for stride in strides):
        return None
    total = [(size - 1) * spread for size, spread in zip(kernel, dilations, strict=True)]
    small, large = tuple(each // 2 for each in total), tuple(each - each // 2 for each in total)
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def _spills(node: Node, kernel: tuple[int, ...]) -> bool:
    """Whether a transposed convolution makes something else of a constant at the border, or between strides."""
    count = len(kernel)
    fixed = node.attribute("output_shape") is None and text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if (
        not fixed
        or any(_list(node, "output_padding", count, 0))
        or any(s != 1 for s in _list(node, "strides", count, 1))
    ):
        return True
    reach = [(size - 1) * spread for size, spread in zip(kernel, _list(node, "dilations", count, 1), strict=True)]
    pads = _list(node, "pads", 2 * count, 0)
    return any(pad < reach[i % count] for i, pad in enumerate(pads))


def _list(node: Node, name: str, length: int, default: int) -> tuple[int, ...]:
    given = integers(node, name)
    if given is not None and len(given) != length:
        raise Unclear(MISFIT)
    return (default,) * length if given is None else given


def _gemm(scope: GraphScope, node: Node) -> UnnamedOp:
    left, right = node.inputs[0], node.input(1)
    flipped = integer(node, "transA", 0) != 0, integer(node, "transB", 0) != 0
    bias = scope.store.optional(node.input(2), "addend")
    if scope.store.is_constant(left) and scope.store.is_constant(right):
        raise Unclear("a product of constants")
    on_left = scope.store.is_constant(left)
    data, name, data_flipped = (right, left, flipped[1]) if on_left else (left, right, flipped[0])
    if not scope.store.is_constant(name):
        raise Unclear(TWO_TENSORS)
    weight = scope.store.parameter(name, "weight")
    if len(weight.shape) != 2:
        raise Unclear(MISFIT)
    out_first = on_left != flipped[0 if on_left else 1]
    axes = (-2, -1) if out_first else (-1, -2)
    factors = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    channels, other = (-2, -1) if on_left else (-1, -2)
    detail = Linear(weight, bias, *axes, channels, *factors, other if data_flipped else None)
    _check_bias(detail, scope.book.of(node.outputs[0]))
    return UnnamedOp("linear", (data,), detail)


def _matmul(scope: GraphScope, node: Node) -> UnnamedOp:
    left, right = node.inputs[0], node.input(1)
    on_left = scope.store.is_constant(left)
    if on_left == scope.store.is_constant(right):
        raise Unclear("a product of constants" if on_left else TWO_TENSORS)
    data, name = (right, left) if on_left else (left, right)
    weight, rank = scope.store.parameter(name, "weight"), scope.book.rank(data)
    if len(weight.shape) < 2 or (rank is not None and rank < 2 and (on_left or len(weight.shape) > 2)) or rank == 0:
        raise Unclear("a product with a vector")
    if rank is None and (on_left or len(weight.shape) > 2):
        raise Unclear("a product with a tensor of unknown rank")
    axes = (-2, -1, -2) if on_left else (-1, -2, -1)
    return UnnamedOp("linear", (data,), Linear(weight, None, *axes))


def _einsum(scope: GraphScope, node: Node) -> UnnamedOp:
    fixed = [scope.store.is_constant(name) for name in node.inputs]
    if fixed.count(False) != 1:
        raise Unclear(TENSORS_IN_EINSUM if len(fixed) > 1 else NO_MATRIX)
    data, place = node.inputs[fixed.index(False)], fixed.index(True) if True in fixed else -1
    sizes = scope.book.of(data)
    if place < 0 or sizes is None:
        raise Unclear(NO_MATRIX)
    weight = scope.store.parameter(node.inputs[place], "weight")
    axes = einsum_axes(text(node, "equation", ""), place, sizes, weight.shape)
    if axes is None or len(node.inputs) != 2:
        raise Unclear(NO_MATRIX)
    return UnnamedOp("linear", (data,), Linear(weight, **asdict(axes)))


def _check_bias(detail: Linear, output: Sizes | None) -> None:
    if detail.bias is not None and not broadcasts_into(detail.bias, output, detail):
        raise Unclear("with an addend that does not fit its output")


def broadcasts_into(bias: Parameter, output: Sizes | None, detail: Linear) -> bool:
    """Whether adding a constant to a product leaves its dimensions as they are."""
    if output is None:
        alone = [size for size in bias.shape if size != 1]
        channels = detail.weight.shape[detail.out_axis]
        return len(bias.shape) <= 1 and detail.channel_axis == -1 and alone in ([], [channels])
    if len(bias.shape) > len(output):
        return False
    return all(size in (1, out.known) for size, out in zip(bias.shape[::-1], output[::-1], strict=False))


def products_with_bias(scope: GraphScope, free: set[int]) -> Iterator[Claim]:
    """MatMul or Einsum and the Add of a constant, where nobody else reads the product."""
    for node in scope.graph.nodes:
        if node.op in PRODUCTS and not node.domain and node.index in free and node.outputs:
            claim = _with_bias(scope, node, free)
            if claim is not None:
                yield claim


def _with_bias(scope: GraphScope, node: Node, free: set[int]) -> Claim | None:
    output = node.outputs[0]
    readers = scope.readers.get(output, ())
    if len(readers) != 1 or readers[0] not in free or not scope.private(output, readers):
        return None
    add = scope.graph.nodes[readers[0]]
    if add.op != "Add" or add.domain or len(add.inputs) != 2:
        return None
    other = add.inputs[1] if add.inputs[0] == output else add.inputs[0]
    try:
        draft = PRODUCTS[node.op](scope, node)
        bias = scope.store.parameter(other, "addend")
    except Unclear:
        return None
    if not isinstance(draft.detail, Linear) or not broadcasts_into(bias, scope.book.of(output), draft.detail):
        return None
    merged = replace(draft, detail=replace(draft.detail, bias=bias))
    return Claim(merged, f"{node.op}+Add", add.outputs, (node.index, add.index), add.index)


PRODUCTS: Mapping[str, Rule] = {"MatMul": _matmul, "Einsum": _einsum}
LINEAR_RULES: Mapping[str, Rule] = {
    **PRODUCTS,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
}
