"""A pickled module built anew from what the static reader read: nothing of the file is run.

Each module is made by `object.__new__` of an installed class and gets its attributes as plain data. No constructor,
`__setstate__`, `__reduce__` or hook runs, and what is neither data nor on a short list is refused by name.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.installed import RefusedError, enum_member, module_class, pure_function, torch_constant
from normdiag.models.static.inert import (
    Global,
    PickledOrderedDict,
    PickledSet,
    PickledSize,
    Record,
    TensorRef,
    shown,
)
from normdiag.models.static.modules import MAX_DEPTH, MAX_ENTRIES, is_module, join, state_of
from normdiag.models.static.tensors import read_tensor

_WRAPPERS = (
    "torch.nn.parallel.data_parallel.DataParallel",
    "torch.nn.parallel.distributed.DistributedDataParallel",
    "torch._dynamo.eval_frame.OptimizedModule",
)
_INNER = ("module", "_orig_mod")
# What every torch.nn.Module keeps beside its hooks and its own attributes.
_TREE = ("_parameters", "_buffers", "_modules")
_OWN = (*_TREE, "training", "_non_persistent_buffers_set")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class NotRebuilt:
    """In place of a class or a partial that a model keeps and its forward does not use: any use of it is refused."""

    def __init__(self, name: str) -> None:
        """`name` is what the file has there."""
        self._name = name

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raises RefusedError."""
        raise RefusedError(f"the model calls {self._name}, which is kept in the file and never called from it")

    def __eq__(self, other: object) -> bool:
        return self() is other

    __hash__ = None  # type: ignore[assignment]


def rebuild_module(root: Record, allowed: Sequence[str] = ()) -> nn.Module:
    """The module that a pickled one stands for, in the mode it was saved in, with tensors of its own on the CPU.

    `allowed` are modules beside torch.nn, torchvision and timm whose classes may be used. Raises RefusedError, which
    names what cannot be built: a class or function that is not on the list, a hook, an attribute that is no data.
    """
    return _Builder(allowed).module(_unwrapped(root), "")


def _unwrapped(root: Record) -> Record:
    """The module inside DataParallel and torch.compile."""
    for _ in range(MAX_DEPTH):
        inner = [state_of(root).get("_modules", {}).get(name) for name in _INNER] if root.cls.path in _WRAPPERS else []
        found = next((each for each in inner if isinstance(each, Record)), None)
        if found is None:
            break
        root = found
    return root


class _Builder:
    """One build: what was made so far, so that what the file shares stays shared."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = allowed
        self._made: dict[int, Any] = {}
        self._entries = 0

    def module(self, record: Record, path: str) -> nn.Module:
        """The module of a record, once; the same one for whatever refers to it again."""
        if id(record) in self._made:
            made: nn.Module = self._made[id(record)]
            return made
        try:
            kind = module_class(record.cls, self._allowed)
        except RefusedError as error:
            raise RefusedError(f"{_at(path)}: {error}" if path else str(error)) from None
        state = state_of(record)
        if record.args or record.items or record.values or not isinstance(record.state, dict):
            raise RefusedError(f"{_at(path)} ({kind.__name__}) was not saved as torch saves a module")
        module = object.__new__(kind)
        self._made[id(record)] = module
        self._fill(module, state, path)
        return module

    def _fill(self, module: nn.Module, state: dict[Any, Any], path: str) -> None:
        fresh = vars(nn.Module())
        own = vars(module)
        own.update(fresh)
        for name, value in state.items():
            self._count(path)
            where = f"{_at(path)}.{shown(name)}"
            if name in fresh and name not in _OWN:
                _refuse_hooks(value, where)
            elif name not in _TREE:
                _refuse_names(type(module), name, where)
                own[name] = self.value(value, where)
        self._fill_tree(module, state, path)
        _refuse_missing(module, path)
        if isinstance(module, nn.RNNBase):
            own["_flat_weight_refs"] = [weakref.ref(each) for each in own.get("_flat_weights", ())]

    def _fill_tree(self, module: nn.Module, state: dict[Any, Any], path: str) -> None:
        for part in _TREE:
            held = state.get(part, {})
            if not isinstance(held, dict):
                raise RefusedError(f"{_at(path)}: its {part} are no dict")
            for name, value in held.items():
                self._count(path)
                if not isinstance(name, str) or not name or "." in name:
                    raise RefusedError(f"{_at(path)}: its {part} have the impossible name '{shown(name)}'")
                getattr(module, part)[name] = self._member(part, value, join(path, name))

    def _member(self, part: str, value: Any, path: str) -> Any:
        if value is None:
            return None
        if part == "_modules":
            if not is_module(value):
                raise RefusedError(f"{_at(path)} is no module")
            if path.count(".") > MAX_DEPTH:
                raise RefusedError("modules are nested too deeply")
            return self.module(value, path)
        if not isinstance(value, TensorRef):
            raise RefusedError(f"{_at(path)} is no plain tensor")
        made = self.value(value, _at(path))
        return made if part == "_buffers" or isinstance(made, nn.Parameter) else nn.Parameter(made, False)

    def value(self, value: Any, where: str, depth: int = 0) -> Any:
        """An attribute: data as it is, tensors, other modules, and listed constants and functions of torch."""
        if type(value) in _PLAIN:
            return value
        self._count(where)
        if id(value) in self._made and not isinstance(value, Global):
            return self._made[id(value)]
        if depth > MAX_DEPTH:
            raise RefusedError(f"{where} is nested too deeply")
        if isinstance(value, Global):
            return _named(value, where, self._allowed)
        made = (
            self._container(value, where, depth) if isinstance(value, (list, tuple, dict)) else self._one(value, where)
        )
        self._made[id(value)] = made
        return made

    def _one(self, value: Any, where: str) -> Any:
        if isinstance(value, TensorRef):
            tensor = to_tensor(read_tensor(value))
            return nn.Parameter(tensor, tensor.is_floating_point()) if value.parameter else tensor
        if isinstance(value, Record) and is_module(value):
            return self.module(value, where.removeprefix("the model."))
        if isinstance(value, Record):
            return _object(value, where, self._allowed)
        raise RefusedError(f"{where} is a {type(value).__name__}, which is no data that can be rebuilt")

    def _container(self, value: Any, where: str, depth: int) -> Any:
        if isinstance(value, dict):
            odd = [key for key in value if type(key) not in _PLAIN]
            if odd:
                raise RefusedError(f"{where} has keys that are neither text nor numbers")
            items = {key: self.value(each, where, depth + 1) for key, each in value.items()}
            return OrderedDict(items) if isinstance(value, PickledOrderedDict) else items
        each = [self.value(one, where, depth + 1) for one in value]
        if isinstance(value, PickledSet):
            if any(type(one) not in _PLAIN for one in each):
                raise RefusedError(f"{where} is a set of something else than text and numbers")
            return set(each)
        if isinstance(value, PickledSize):
            return torch.Size(each) if all(type(one) is int for one in each) else _no_size(where)
        return tuple(each) if isinstance(value, tuple) else each

    def _count(self, where: str) -> None:
        self._entries += 1
        if self._entries > 20 * MAX_ENTRIES:
            raise RefusedError(f"{where}: the model has too many attributes")


def _named(named: Global, where: str, allowed: Sequence[str]) -> Any:
    """What a bare name stands for: a constant of torch, a pure function, or a class, which is only kept."""
    found = torch_constant(named)
    if found is None:
        found = pure_function(named)
    if found is not None:
        return found
    return NotRebuilt(_class_name(named, where, allowed))


def _object(record: Record, where: str, allowed: Sequence[str]) -> Any:
    """A torch.device, the member of a listed enum, or a partial of a class, which is only kept."""
    member = enum_member(record.cls, record.args[0]) if len(record.args) == 1 else None
    if member is not None:
        return member
    if record.cls.path == "torch.device" and all(type(each) in (str, int) for each in record.args):
        return torch.device("cpu")
    if record.cls.path == "functools.partial" and record.args and isinstance(record.args[0], Global):
        return NotRebuilt(f"partial({_class_name(record.args[0], where, allowed)})")
    raise RefusedError(f"{where} is {_shown_class(record)}, which is neither data nor a class or function on the list")


def _class_name(named: Global, where: str, allowed: Sequence[str]) -> str:
    try:
        return module_class(named, allowed).__name__
    except RefusedError:
        raise RefusedError(
            f"{where} is {shown(named.path, 120)}, which is neither data nor a class or function on the list"
        ) from None


def _shown_class(record: Record) -> str:
    inner = next((each.path for each in record.args if isinstance(each, Global)), None)
    return shown(f"{record.cls.path}({inner})" if inner else record.cls.path, 120)


def _refuse_hooks(value: Any, where: str) -> None:
    """Hooks run with every forward; those of the base class without any are made anew."""
    if isinstance(value, dict) and value:
        first = next(iter(value.values()))
        first = first[0] if isinstance(first, tuple) and first else first
        name = first.path if isinstance(first, Global) else _shown_class(first) if isinstance(first, Record) else "?"
        raise RefusedError(f"{where} holds a hook, {shown(name, 120)}")
    if type(value) not in _PLAIN and value:
        raise RefusedError(f"{where} is no data that can be rebuilt")


def _refuse_names(kind: type, name: Any, where: str) -> None:
    """Attributes may not stand in the place of code: a `forward` in the instance hides that of the class."""
    if not isinstance(name, str) or (name.startswith("__") and name.endswith("__")):
        raise RefusedError(f"{where} has no name that an attribute can have")
    held = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
    if (callable(held) and not isinstance(held, type)) or isinstance(held, (property, classmethod, staticmethod)):
        raise RefusedError(f"{where} is set in the file, in place of the code of {kind.__name__}")


def _refuse_missing(module: nn.Module, path: str) -> None:
    """A file of an older version may lack what its class reads today."""
    wanted = getattr(type(module), "__constants__", ())
    held = vars(module)
    for name in wanted:
        if not (name in held or hasattr(type(module), name) or any(name in held[part] for part in _TREE)):
            raise RefusedError(
                f"the file lacks the attribute {name!r} of {_at(path)} ({type(module).__name__}) that the version "
                "installed has: it was saved by another one"
            )


def _no_size(where: str) -> Any:
    raise RefusedError(f"{where} is no size")


def _at(path: str) -> str:
    return f"the model.{shown(path)}" if path else "the model"
