"""Which module is running: names for what is called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from normdiag.models.pytorch.layers import named_modules, tensor


@dataclass(eq=False)
class Frame:
    """One running forward: its module, path, and how many functional calls of each kind it has made.

    `version` counts the writes to its first input before it ran; `normalized` says that a call was put down to it.
    """

    module: nn.Module | None
    path: str
    version: int = 0
    normalized: bool = False
    calls: dict[str, int] = field(default_factory=dict)

    def numbered(self, name: str) -> str:
        """The name itself for the first call from this forward, then `name_2` and so on."""
        count = self.calls[name] = self.calls.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def functional(self, kind: str) -> str:
        """`path.kind`, numbered, for a call that is no module."""
        return self.numbered(f"{self.path}.{kind}" if self.path else kind)


class ModuleScope:
    """The stack of running modules. Global hooks keep it, so that the model's own hooks are not touched."""

    def __init__(self, model: nn.Module) -> None:
        """The names of a model's modules and parameters as they are now."""
        self.paths = {id(module): path for path, module in named_modules(model)}
        self.owners = _owners(model)
        self._frames: list[Frame] = []
        self._thread = threading.get_ident()

    @property
    def frame(self) -> Frame:
        """The innermost forward that belongs to the model; calls outside of all belong to the model itself."""
        if not self._frames:
            self._frames.append(Frame(None, ""))
        return self._frames[-1]

    @property
    def caller(self) -> Frame:
        """The forward from which the innermost one was called."""
        return self._frames[-2] if len(self._frames) > 1 else self.frame

    def owner(self, *tensors: Tensor | None) -> str | None:
        """The path of the leaf module that holds one of these as its weight or running_mean, or None."""
        known = (self.owners.get(value.data_ptr()) for value in tensors if value is not None and not value.is_meta)
        return next((path for path in known if path), None)

    @contextmanager
    def followed(self, on_leave: Callable[[Frame, Tensor, Any], Any]) -> Iterator[None]:
        """Follow every forward on this thread.

        `on_leave` gets the frame, first input and output of modules of the model; unless None, what it returns
        replaces the output.
        """

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == self._thread:
                self._frames.append(self._frame_of(module, args))

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            if threading.get_ident() != self._thread or not self._frames:
                return None
            frame, first = self._frames.pop(), args[0] if args else None
            if frame.module is not module or output is None or not isinstance(first, Tensor):
                return None
            return on_leave(frame, first, output)

        self._thread = threading.get_ident()
        self._frames.clear()
        # always_call: also when the forward raises, so that a model that catches the exception leaves no stale frame
        handles = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._frames.clear()

    def _frame_of(self, module: nn.Module, args: Any) -> Frame:
        path = self.paths.get(id(module))
        if path is None:  # a module that is not registered runs as part of the one that calls it
            return self.frame
        return Frame(module, path, args[0]._version if args and isinstance(args[0], Tensor) else 0)


def _owners(model: nn.Module) -> Mapping[int, str]:
    owners: dict[int, str] = {}
    leaves = ((path, module) for path, module in named_modules(model) if path and not any(module.children()))
    for path, module in leaves:
        for name in ("running_mean", "weight"):
            value = tensor(module, name)
            if value is not None and value.numel() and not value.is_meta:
                owners.setdefault(value.data_ptr(), path)
    return owners
