"""What moves elements about without changing them: reshape, transpose, split, concat, shuffle, casts, identities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch.fx import Node

from normdiag.graph.dtypes import keeps
from normdiag.graph.importers.torch_export.calls import Call, axes_of, dtype_name, dtype_of, parts_of, rank_of, sizes_of
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.shuffles import Moved, channel_shuffle, depth_to_space, space_to_depth
from normdiag.graph.sizes import ONE
from normdiag.records.ops import Concat, Opaque, Pass, Reshape, Split, Take, Transpose, Window

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]


def _reshape(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first) or dtype_of(call.first) != dtype_of(call.node):
        return None
    return (program.draft(call, "reshape", Reshape(), (call.first,)),)


def _transpose(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first):
        return None
    permutation = _permutation(call, rank_of(call.first))
    return (program.draft(call, "transpose", Transpose(permutation), (call.first,)),)


def _permutation(call: Call, rank: int) -> tuple[int, ...]:
    if call.operator == "permute":
        return tuple(axis % rank for axis in call.args["dims"])
    if call.operator in ("movedim", "moveaxis"):
        return _moved(call.args["source"], call.args["destination"], rank)
    if call.operator in ("transpose", "swapaxes", "swapdims"):
        first, second = [axis % rank if rank else 0 for axis in list(call.args.values())[1:3]]
    else:  # t, mT, and T and numpy_T of two dimensions, which swap the last two
        first, second = (rank - 2, rank - 1) if rank > 1 else (0, 0)
    order = list(range(rank))
    if rank:
        order[first], order[second] = order[second], order[first]
    return tuple(order)


def _moved(source: Any, destination: Any, rank: int) -> tuple[int, ...]:
    listed = [[each] if isinstance(each, int) else list(each) for each in (source, destination)]
    pairs = {to % rank: start % rank for start, to in zip(*listed, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in pairs.values())
    return tuple(pairs[axis] if axis in pairs else next(rest) for axis in range(rank))


def _reversed_axes(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """numpy_T and T: all axes in reverse."""
    if not program.is_data(call.first):
        return None
    return (program.draft(call, "transpose", Transpose(tuple(reversed(range(rank_of(call.first))))), (call.first,)),)


def _identity(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first) or dtype_of(call.first) != dtype_of(call.node):
        return None
    return (program.draft(call, "identity", Pass(), (call.first,)),)


def _repeated(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """To the sizes that it has already, as decomposing leaves it; or once more along some axes, old or new."""
    if not program.is_data(call.first) or dtype_of(call.first) != dtype_of(call.node):
        return None
    before, after = sizes_of(call.first), sizes_of(call.node)
    wide = (*(ONE,) * (len(after) - len(before)), *before)
    axes = tuple(axis for axis, sizes in enumerate(zip(wide, after, strict=True)) if sizes[0] != sizes[1])
    draft = program.draft(call, "resize" if axes else "identity", Window(axes) if axes else Pass(), (call.first,))
    if wide == before:
        return (draft,)
    name = f"{call.node.name}.wide"
    first = replace(draft, kind="reshape", detail=Reshape(), outputs=(name,), sizes={name: wide})
    return (first, replace(draft, inputs=(name,)))


def _cast(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first):
        return None
    kept = keeps(dtype_name(dtype_of(call.first)), dtype_name(dtype_of(call.node)))
    detail = Pass() if kept else Opaque("a cast that rounds")
    return (program.draft(call, "identity" if kept else "other", detail, (call.first,)),)


def _dropout(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first):
        return None
    rate, training = call.args.get("p", 0.0), call.args.get("train")
    output = program.single_output(call.node)
    if output is None:
        return None
    detail = Opaque("dropout in training mode: it is random") if training else Pass(keep=1.0 - float(rate))
    draft = program.draft(call, "dropout", detail, (call.first,))
    nodes = (call.node,) if output is call.node else (call.node, output)
    return (replace(draft, outputs=(output.name,), nodes=nodes),)


def _concat(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    tensors = call.first
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(each, Node) for each in tensors):
        return None
    if any(rank_of(each) != rank_of(call.node) for each in tensors):
        return None  # torch takes an empty tensor of one dimension for nothing
    (axis,) = axes_of(call.args.get("dim", 0), rank_of(call.node))
    draft = program.draft(call, "concat", Concat(axis), tuple(tensors))
    return (*dict.fromkeys(each for tensor in tensors for each in program.operand(tensor)), draft)


def _split(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    parts = parts_of(call.node)
    if parts is None or not program.is_data(call.first):
        return None
    (axis,) = axes_of(call.args.get("dim", 0), rank_of(call.first))
    lengths = [part.shape[axis] for part in parts]
    items = _items(call.node)
    if items is None or not all(isinstance(length, int) for length in lengths):
        return None
    outputs = tuple(items[index].name if index in items else "" for index in range(len(parts)))
    draft = program.draft(call, "split", Split(axis, tuple(lengths)), (call.first,))
    return (replace(draft, outputs=outputs, nodes=(call.node, *items.values())),)


def _unbind(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """Each part is the data at one position, without that axis."""
    items = _items(call.node)
    if items is None or not program.is_data(call.first):
        return None
    (axis,) = axes_of(call.args.get("dim", 0), rank_of(call.first))
    used = {index: item for index, item in items.items() if item.users}
    draft = program.draft(call, "other", Take(axis, tuple((index,) for index in used), removed=True), (call.first,))
    outputs = tuple(item.name for item in used.values())
    return (replace(draft, outputs=outputs, nodes=(call.node, *used.values())),) if used else None


def _items(node: Node) -> dict[int, Node] | None:
    """The nodes that take one part each, by its number; None where parts are used in another way."""
    items = {user.args[1]: user for user in node.users if getattr(user.target, "__name__", "") == "getitem"}
    if len(items) != len(node.users):
        return None
    return dict(sorted(items.items()))  # type: ignore[arg-type]


def _channel_shuffle(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    return _shuffled(call, program, channel_shuffle(sizes_of(call.first), int(call.args["groups"])))


def _pixel_shuffle(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    moved = depth_to_space(sizes_of(call.first), int(call.args["upscale_factor"]), block_first=False)
    return _shuffled(call, program, moved)


def _pixel_unshuffle(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    factor = int(call.args["downscale_factor"])
    return _shuffled(call, program, space_to_depth(sizes_of(call.first), factor, call.node.name, block_first=False))


def _shuffled(call: Call, program: Program, moved: Moved | None) -> tuple[AnchoredOp, ...] | None:
    if moved is None or not program.is_data(call.first):
        return None
    (inner, perm), name = moved, call.node.name
    apart, turned = f"{name}.apart", f"{name}.turned"
    sizes = {apart: inner, turned: tuple(inner[axis] for axis in perm)}
    whole = program.draft(call, "reshape", Reshape(), (call.first,), sizes=sizes)
    return (
        replace(whole, outputs=(apart,)),
        replace(whole, kind="transpose", detail=Transpose(perm), inputs=(apart,), outputs=(turned,)),
        replace(whole, inputs=(turned,)),
    )


def _by_operator(names: str, handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names.split(), handler)


HANDLERS: Mapping[str, Handler] = {
    **_by_operator("view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as reshape_as", _reshape),
    **_by_operator("ravel _reshape_alias view_copy squeeze_copy unsqueeze_copy _reshape_copy", _reshape),
    **_by_operator("permute transpose t movedim moveaxis mT swapaxes swapdims", _transpose),
    **_by_operator("numpy_T T", _reversed_axes),
    **_by_operator("clone contiguous alias detach lift_fresh lift_fresh_copy alias_copy positive", _identity),
    **_by_operator("expand broadcast_to repeat tile", _repeated),
    **_by_operator("to _to_copy type_as float half bfloat16 double prims.convert_element_type", _cast),
    **_by_operator("dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout", _dropout),
    **_by_operator("cat concat concatenate", _concat),
    **_by_operator(
        "chunk split split_with_sizes tensor_split unsafe_split unsafe_chunk unsafe_split_with_sizes", _split
    ),
    **_by_operator("unbind", _unbind),
    **_by_operator("channel_shuffle native_channel_shuffle", _channel_shuffle),
    **_by_operator("pixel_shuffle", _pixel_shuffle),
    **_by_operator("pixel_unshuffle", _pixel_unshuffle),
}
