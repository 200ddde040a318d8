"""The registry of functions (normdiag.ops) by what PyTorch calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from normdiag.ops import FUNCTIONS, Activation

Reader = Callable[..., "Activation | None"]


def _readers() -> Mapping[str, tuple[Reader, ...]]:
    found: dict[str, tuple[Reader, ...]] = {}
    for names in (names for function in FUNCTIONS.values() for names in function.torch):
        for name in names.functions:
            found[name] = (*found.get(name, ()), names.read)
    return found


READERS = _readers()
"""What each function of PyTorch, named without the underscore of its in-place form, may be."""
MODULES = tuple(name for function in FUNCTIONS.values() for names in function.torch for name in names.modules)
"""Classes in torch.nn."""


def function_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """The activation that a call is, by its name and the arguments after the tensor; None where it is none."""
    readings = (read(*args, **kwargs) for read in READERS.get(name, ()))
    return next((function for function in readings if function is not None), None)
