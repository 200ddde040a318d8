"""Operators on tensors without values, run once for tensors of the same sizes: networks repeat their blocks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from torch import Tensor

from normdiag.models.pytorch.torch_private import fake_copies, has_sizes_alone


class KnownResults:
    """Calls operators, and hands out tensors of the known sizes where it has called them on the like before."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: dict[Hashable, Callable[[], Any]] = {}

    def __call__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operator returns. New tensors share no memory with its arguments, which only writers would tell."""
        given = list(_tensors((*args, *kwargs.values())))
        if not given or not all(map(has_sizes_alone, given)):
            return function(*args, **kwargs)
        key = (function, *_described(args), *chain.from_iterable(_described(each) for each in kwargs.items()))
        make = self._known.get(key)
        if make is not None:
            return make()
        value = function(*args, **kwargs)
        parts = value if type(value) in (list, tuple) else [value]
        if all(isinstance(part, Tensor) and has_sizes_alone(part) for part in parts) and not _any_is(parts, given):
            makes = [fake_copies(part) for part in parts]
            self._known[key] = makes[0] if parts is not value else partial(_made, type(value), makes)
        return value


def _made(kind: type, makes: Sequence[Callable[[], Tensor]]) -> Any:
    return kind(make() for make in makes)


def _any_is(parts: Any, given: list[Tensor]) -> bool:
    """Whether an operator returned what it was given, as `contiguous` may."""
    return any(part is each for part in parts for each in given)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


def _described(value: Any) -> Iterator[Hashable]:
    """All that sizes can depend on."""
    if isinstance(value, Tensor):
        yield value.shape, value.stride(), value.storage_offset(), value.dtype, value.device
    elif isinstance(value, (list, tuple)):
        yield len(value)
        for each in value:
            yield from _described(each)
    else:
        yield type(value), value
