"""Convolutions and products with a constant matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import Call, call_of, rank_of, shape_of, sizes_of, words
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.recognise.einsum import einsum_axes
from normdiag.records.opgraph import OpKind
from normdiag.records.ops import Conv, Linear

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]


def _convolution(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    args = call.args
    data, kernel = args["input"], args["weight"]
    weight, bias = program.parameter(kernel), program.parameter(args.get("bias"))
    if weight is None or not program.is_data(data) or rank_of(data) - len(weight.shape) not in (0, -1):
        return None
    if args.get("bias") is not None and bias is None:
        return None
    transposed = bool(args.get("transposed", call.operator.startswith("conv_transpose")))
    padded = _spreads(args, weight.shape[2:]) if transposed else _pads(args, weight.shape[2:])
    places = _places(args, weight.shape[2:]) if not transposed else (None, None, None)
    detail = Conv(weight, bias, int(args["groups"]), transposed, padded, *places)
    parameters = tuple(each for each in (kernel, args.get("bias")) if each is not None)
    kind: OpKind = "conv_transpose" if transposed else "conv"
    draft = program.draft(call, kind, detail, (data,), parameters=parameters)
    return (replace(draft, operator=f"{kind}{len(weight.shape) - 2}d"),)


def _pads(args: Mapping[str, Any], kernel: Sequence[int]) -> bool:
    """Whether zeros are put around the input. 'same' pads by dilation * (kernel - 1) in all."""
    padding = args.get("padding", 0)
    if isinstance(padding, str):
        return padding != "valid" and any(size > 1 for size in kernel)
    return any(_listed(padding))


def _places(
    args: Mapping[str, Any], kernel: Sequence[int]
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None]:
    """Strides, dilations and pads: one number may stand for all axes, and 'same' pads one more at the end."""
    count, padding = len(kernel), args.get("padding", 0)
    strides, spread = (_each(args.get(name, 1), count) for name in ("stride", "dilation"))
    if isinstance(padding, str):
        total = [s * (k - 1) if padding == "same" else 0 for s, k in zip(spread, kernel, strict=True)]
        return strides, spread, (*(each // 2 for each in total), *(each - each // 2 for each in total))
    around = _each(padding, count)
    return strides, spread, (*around, *around)


def _each(value: Any, count: int) -> tuple[int, ...]:
    listed = tuple(_listed(value))
    return listed * count if len(listed) == 1 else listed


def _spreads(args: Mapping[str, Any], kernel: Sequence[int]) -> bool:
    """Whether a transposed convolution turns a constant into what is not one: unless pixels map to pixels it does."""
    extra = (*_listed(args.get("padding", 0)), *_listed(args.get("output_padding", 0)))
    return any(extra) or any(size > 1 for size in (*kernel, *_listed(args.get("stride", 1))))


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _linear(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    data, matrix, bias = call.first, call.args["weight"], call.args.get("bias")
    detail = _product(program, matrix, bias, -2, -1)
    if detail is None or len(detail.weight.shape) != 2 or not program.is_data(data):
        return None
    return (program.draft(call, "linear", detail, (data,), parameters=_present(matrix, bias)),)


def _addmm(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """beta * self + alpha * mat1 @ mat2; also baddbmm, whose factors are called batch1 and batch2."""
    bias, left, right = (list(call.args.values()) + [None] * 3)[:3]
    if program.is_data(bias):
        return None
    draft = _matrices(call, program, left, right, bias)
    if draft is None or not isinstance(draft.detail, Linear):
        return None
    alpha, beta = (float(call.args.get(name, 1)) for name in ("alpha", "beta"))
    return (replace(draft, detail=replace(draft.detail, alpha=alpha, beta=beta)),)


def _matmul(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """A product, with the addition of a constant right after it."""
    left, right = (list(call.args.values()) + [None] * 2)[:2]
    draft = _matrices(call, program, left, right, None)
    return None if draft is None else (_with_constant(draft, call, program),)


def _with_constant(draft: AnchoredOp, call: Call, program: Program) -> AnchoredOp:
    added = _added_constant(program, call.node)
    if added is None or not isinstance(draft.detail, Linear):
        return draft
    node, constant = added
    detail = replace(draft.detail, bias=program.parameter(constant))
    merged = replace(draft, detail=detail, outputs=(node.name,), nodes=(*draft.nodes, node))
    return replace(merged, parameters=(*draft.parameters, constant))


def _einsum(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    operands = call.args["tensors"]
    if len(operands) != 2 or program.is_data(operands[0]) == program.is_data(operands[1]):
        return None
    place = 1 if program.is_data(operands[0]) else 0
    data, matrix = operands[1 - place], operands[place]
    weight = program.parameter(matrix)
    axes = None if weight is None else einsum_axes(call.args["equation"], place, sizes_of(data), weight.shape)
    if weight is None or axes is None:
        return None
    draft = program.draft(call, "linear", Linear(weight, **asdict(axes)), (data,), parameters=_present(matrix))
    return (_with_constant(draft, call, program),)


def _matrices(call: Call, program: Program, left: Any, right: Any, bias: Any) -> AnchoredOp | None:
    if program.is_data(left) == program.is_data(right):
        return None
    data, matrix, *axes = (left, right, -1, -2, -1) if program.is_data(left) else (right, left, -2, -1, -2)
    detail = _product(program, matrix, bias, *axes)
    if detail is None or not 2 <= len(detail.weight.shape) <= max(2, rank_of(data)) or rank_of(data) < 2:
        return None
    return program.draft(call, "linear", detail, (data,), parameters=_present(matrix, bias))


def _product(
    program: Program, matrix: Any, bias: Any, out_axis: int = -1, in_axis: int = -2, channel_axis: int = -1
) -> Linear | None:
    weight, added = program.parameter(matrix), program.parameter(bias)
    if weight is None or (bias is not None and added is None):
        return None
    return Linear(weight, added, out_axis, in_axis, channel_axis)


def _added_constant(program: Program, product: Node) -> tuple[Node, Node] | None:
    """The addition that is the only reader of a product, and the constant that it adds."""
    readers = program.readers(product)
    if len(readers) != 1 or product in program.changed or readers[0].op != "call_function":
        return None
    call = call_of(readers[0])
    if call.operator != "add" or call.overload != "Tensor" or call.args.get("alpha", 1) != 1:
        return None
    constant = call.args["other"] if call.args["self"] is product else call.args["self"]
    if not program.is_constant(constant) or shape_of(constant) is None:
        return None
    return (readers[0], constant) if sizes_of(readers[0]) == sizes_of(product) else None


def _present(*values: Any) -> tuple[Node, ...]:
    return tuple(each for each in values if isinstance(each, Node))


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(words("conv1d conv2d conv3d convolution _convolution"), _convolution),
    **dict.fromkeys(words("conv_transpose1d conv_transpose2d conv_transpose3d"), _convolution),
    "linear": _linear,
    "addmm": _addmm,
    "baddbmm": _addmm,
    **dict.fromkeys(("mm", "matmul", "bmm"), _matmul),
    "einsum": _einsum,
}
