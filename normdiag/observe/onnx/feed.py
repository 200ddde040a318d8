"""From a batch to what onnxruntime is fed: names, types and shapes checked against what the model declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.records import Batch, Feeding, StateInput

Array = NDArray[Any]
NOTHING_ELSE = Feeding()


@dataclass(frozen=True, eq=False)
class GraphInput:
    """An input that must be fed: its numpy dtype, and its shape with None for free dimensions (None: any shape)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


def graph_inputs(proto: Any, where: str) -> tuple[GraphInput, ...]:
    """The inputs of a model without those that have a default value.

    Raises InputError for inputs that are no tensors of numbers.
    """
    defaults = {tensor.name for tensor in proto.graph.initializer}
    return tuple(_graph_input(each, where) for each in proto.graph.input if each.name not in defaults)


def make_feed(
    inputs: Sequence[GraphInput], batch: Batch, where: str, feeding: Feeding = NOTHING_ELSE
) -> dict[str, Array]:
    """The arrays of a batch by input name, in the dtypes that the model wants, and what it takes beside them.

    Raises InputError where arrays are missing or left over, or do not fit in type or shape.
    """
    besides = _besides(feeding, batch)
    needed = [each for each in inputs if each.name not in besides]
    given = {**besides, **_by_name(needed, batch, where, feeding)}
    return {each.name: _fitted(each, given[each.name], where) for each in inputs}


def _besides(feeding: Feeding, batch: Batch) -> dict[str, Array]:
    """Constants, and states that the batch does not hold, as zeros."""
    held = {*(batch.names or ()), *batch.fixed}
    states = [state for state in feeding.states if state.name not in held]
    found = {name: value for name, value in feeding.constants.items() if name not in held}
    return found | {state.name: zeros(state, batch.size) for state in states}


def zeros(state: StateInput, samples: int) -> Array:
    """A state at the beginning, for so many samples."""
    sizes = [samples if axis == state.axis else 1 if size is None else size for axis, size in enumerate(state.shape)]
    return np.zeros(sizes, state.dtype)


def _graph_input(value: Any, where: str) -> GraphInput:
    from onnx import helper

    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type in (0, 8):  # undefined, string
        raise InputError(f"{where}: input {value.name!r} is not a tensor of numbers; such models cannot be run here")
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return GraphInput(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)


def _by_name(inputs: Sequence[GraphInput], batch: Batch, where: str, feeding: Feeding) -> Mapping[str, Array]:
    wanted = [each.name for each in inputs if each.name not in batch.fixed]
    if batch.names is None:
        if len(batch.arrays) != len(wanted):
            raise InputError(
                f"{where}: the model has {len(wanted)} inputs ({', '.join(wanted)}), "
                f"the data gives {len(batch.arrays)} arrays"
            )
        return {**_placed(wanted, batch.arrays, feeding), **_arrays(batch.fixed)}
    given = {**_placed(batch.names, batch.arrays, feeding), **_arrays(batch.fixed)}
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(f"{where}: the data has no input {missing[0]!r}; it gives {', '.join(given)}")
    return given


def _placed(names: Sequence[str], arrays: Sequence[Array], feeding: Feeding) -> dict[str, Array]:
    """The arrays with their samples on the axes where the model takes them; without one, a sample is all there is."""
    axes = [feeding.axis(name) for name in names]
    return {
        name: array[0] if axis is None else np.moveaxis(array, 0, axis)
        for name, array, axis in zip(names, arrays, axes, strict=True)
    }


def _arrays(fixed: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in fixed.items()}


def _fitted(wanted: GraphInput, array: Array, where: str) -> Array:
    shape = wanted.shape
    if shape is not None and not _fits(shape, array.shape):
        raise InputError(
            f"{where}: input {wanted.name!r} wants the shape {_shape_text(shape)}, "
            f"the data gives {_shape_text(array.shape)}"
        )
    return _cast(wanted, array, where)


def _fits(shape: tuple[int | None, ...], given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(a is None or a == b for a, b in zip(shape, given, strict=True))


def _shape_text(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if each is None else str(each) for each in shape) + ")"


def _cast(wanted: GraphInput, array: Array, where: str) -> Array:
    """Widths are changed silently; fractions, or integers too large for the declared type, are refused."""
    if array.dtype == wanted.dtype:
        return np.asarray(array, order="C")  # which leaves a number without axes
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.asarray(array).astype(wanted.dtype, order="C")
    if wanted.dtype.kind in "iub" and not np.array_equal(cast, array):
        raise InputError(
            f"{where}: input {wanted.name!r} wants {wanted.dtype} values, the data gives {array.dtype} that do not fit"
        )
    if wanted.dtype.kind == "f" and not np.isfinite(cast).all():
        raise InputError(f"{where}: input {wanted.name!r} wants {wanted.dtype}, in which the data becomes infinite")
    return cast
