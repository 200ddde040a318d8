"""The training steps that a checkpoint tells of: optimizers, trainers and averages count them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from normdiag.errors import InputError
from normdiag.models.static.inert import MalformedError, Record
from normdiag.models.static.pickled_numpy import scalar_of, tensor_of
from normdiag.models.static.tensors import read_tensor

NAMES = frozenset(
    {"step", "steps", "global_step", "_step_count", "iter", "iteration", "num_updates", "optimization_step"}
    | {"n_averaged"}
)
_MAX_DEPTH = 5
_MAX_ENTRIES = 100_000


def steps_told(root: Any) -> frozenset[int]:
    """The numbers under such names in the dicts of a file, the first of many; nothing else is read."""
    found: set[int] = set()
    level: list[Any] = [root]
    left = _MAX_ENTRIES
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            entries = _entries(value)
            left -= 1 + len(entries)
            if left < 0:
                return frozenset(found)
            found.update(number for name in NAMES.intersection(entries) for number in _number(entries[name]))
            below += [each for each in entries.values() if isinstance(each, dict) or _is_dict(each)]
        level = below
    return frozenset(found)


def _is_dict(value: Any) -> bool:
    return isinstance(value, Record) and bool(value.items)


def _entries(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else value.items if isinstance(value, Record) else {}


def _number(value: Any) -> Iterator[int]:
    """A number of steps, as a Python or NumPy number or a tensor of one element."""
    try:
        tensor = tensor_of(value)
        number = scalar_of(value) if tensor is None else read_tensor(tensor).item() if not tensor.shape else None
    except (InputError, MalformedError):
        return
    if isinstance(number, int | float) and number > 0 and number == number // 1:
        yield int(number)
