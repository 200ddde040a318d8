"""Seeing the calls: a TorchFunctionMode for what Python calls, a TorchDispatchMode for what TorchScript calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

from normdiag.models.pytorch.torch_private import OpOverload, TorchDispatchMode

Arguments = tuple[Any, ...]
Handler = Callable[[Any, Callable[..., Any], Arguments, Mapping[str, Any]], Any]


class FunctionMode(TorchFunctionMode):
    """Hands every torch function and method that Python calls to `handler(key, function, args, kwargs)`."""

    def __init__(self, handler: Handler) -> None:
        """`handler` is called in place of every function."""
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._handler = handler

    def __torch_function__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch with this mode switched off, so that what the function itself calls is not seen again."""
        return self._handler(_key(func), func, args, kwargs or {})


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every operator that reaches the dispatcher to the handler."""

    def __init__(self, handler: Handler) -> None:
        """`handler` is called in place of every function."""
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._handler = handler

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch with this mode switched off."""
        return self._handler(_key(func), func, args, kwargs or {})


@contextmanager
def seeing(handler: Handler, *, scripted: bool) -> Iterator[None]:
    """Call `handler` for everything that runs inside; `scripted`: also for the operators of TorchScript code."""
    if not scripted:
        with FunctionMode(handler):
            yield
        return
    with DispatchMode(handler), FunctionMode(handler):
        yield


def _key(func: Any) -> Any:
    return func.overloadpacket if isinstance(func, OpOverload) else func
