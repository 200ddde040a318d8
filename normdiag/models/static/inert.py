"""What a pickle is turned into: plain Python values, tensors over storages, and inert records of everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class MalformedError(ValueError):
    """A file contradicts its own format. The readers turn it into an InputError that names the file."""


@dataclass(frozen=True, repr=False)
class Global:
    """A name that the pickle would have imported."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False)
class Record:
    """An object that the pickle would have built by calling `cls`: what it was given, nothing run.

    `state` is what BUILD would have set, `items` what a dict-like object would hold, `values` a list-like one.
    """

    cls: Global
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


class PickledSet(list[Any]):
    """What a set held, in the order of the file: hashing could be made slow or recursive."""


class PickledOrderedDict(dict[Any, Any]):
    """What an OrderedDict held; `state` are its attributes."""

    state: Any = None


class PickledSize(tuple[Any, ...]):
    """What a torch.Size held."""


@dataclass(frozen=True, eq=False, repr=False)
class OpaqueKey:
    """A dictionary key whose hash or comparison the file could make slow or recursive; equal only to itself."""

    value: Any


@dataclass(frozen=True, eq=False, repr=False)
class Storage:
    """A run of elements somewhere in the file. `load` maps and checks all of its bytes.

    `swapped` marks a byte order that is not this machine's.
    """

    key: str
    dtype: str
    nbytes: int
    load: Callable[[], Bytes]
    swapped: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class TensorRef:
    """A tensor that has not been read: a view of a storage, with offset and strides in elements of `dtype`.

    `parameter` marks one that the file calls a torch.nn.Parameter.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    parameter: bool = False


def is_unread_tensor(value: Any) -> bool:
    """Whether `value` is a tensor that no array stands for: quantized, sparse, nested, lazily conjugated, on meta."""
    return isinstance(value, Record) and value.cls.path.startswith(
        ("torch._utils._rebuild_", "torch._tensor._rebuild_")
    )


def shown(text: object, limit: int = 80) -> str:
    """A name out of a file, safe to print in one line: no control characters, cut at `limit`."""
    plain = text if isinstance(text, str) else type(text).__name__
    clean = ascii(plain[: limit + 1])[1:-1]
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
