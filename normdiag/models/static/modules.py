"""Pickled modules: tensors and facts by module path, out of inert records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from normdiag.models.static.inert import MalformedError, Record, TensorRef, is_unread_tensor
from normdiag.models.static.pickled_numpy import scalar_of, tensor_of
from normdiag.models.static.staticfile import ModuleFacts

# A file may share one submodule among many parents, so that its paths multiply without end.
MAX_ENTRIES = 100_000
MAX_DEPTH = 100
MAX_PATH = 2_000
# torch, transformers, and what others call it.
_EPS = ("eps", "variance_epsilon", "epsilon")


@dataclass(eq=False)
class ModuleTree:
    """Tensors to be read by name; facts, and class names as pickled, by module path, parents before children.

    `unread` names the tensors that no array can stand for. `program` is the JSON of a torch.export program, and
    `constants` what it uses beside its weights.
    """

    tensors: dict[str, TensorRef] = field(default_factory=dict)
    modules: dict[str, ModuleFacts] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    program: Mapping[str, Any] | None = None
    constants: dict[str, TensorRef] = field(default_factory=dict)


def is_module(value: Any) -> bool:
    """Whether `value` is a pickled torch.nn.Module of whatever class, or a TorchScript one."""
    if not isinstance(value, Record):
        return False
    state = state_of(value)
    return is_script(value) or all(isinstance(state.get(part), dict) for part in ("_parameters", "_modules"))


def is_script(record: Record) -> bool:
    """Whether the record is an object of a class that TorchScript wrote."""
    return record.cls.module.split(".")[0] == "__torch__"


def state_of(record: Record) -> dict[Any, Any]:
    """The attributes that a pickled object had: its state, or what torch.fx's GraphModule passes instead."""
    # Objects with __slots__ put their plain attributes first.
    state = record.state[0] if isinstance(record.state, tuple) and record.state else record.state
    if isinstance(state, dict):
        return state
    return record.args[0] if record.args and isinstance(record.args[0], dict) else {}


def walk_module(root: Record) -> ModuleTree:
    """The tensors in the order of torch's state dict, and the facts of every module below `root`.

    Raises MalformedError for a module that contains itself or unfolds beyond all measure.
    """
    tree = ModuleTree()
    entries = 0
    # Each entry: path, module, and the modules above it.
    pending: list[tuple[str, Record, frozenset[int]]] = [("", root, frozenset())]
    while pending:
        path, module, above = pending.pop()
        own, children = _own_tensors(module), _children(module)
        entries += 1 + len(own) + len(children) + len(state_of(module)) // 100
        if id(module) in above or len(above) > MAX_DEPTH or len(path) > MAX_PATH or entries > MAX_ENTRIES:
            raise MalformedError("a module that contains itself or has too many submodules")
        tree.modules[path], tree.classes[path] = facts_of(module), module.cls.path
        tree.tensors.update({join(path, name): tensor for name, value in own if (tensor := tensor_of(value))})
        tree.unread.extend(join(path, name) for name, value in own if is_unread_tensor(value))
        above |= {id(module)}
        pending.extend((join(path, name), child, above) for name, child in reversed(children))
    return tree


def facts_of(module: Record) -> ModuleFacts:
    """What a module's attributes say; only values of the right type count."""
    state = state_of(module)
    name = module.cls.path if module.cls.module else None  # without a module: a class that the pickle itself makes
    return ModuleFacts(
        class_name=plain_class(name) if name and is_script(module) else name,
        eps=next((eps for eps in (_number(state.get(each)) for each in _EPS) if eps is not None), None),
        momentum=_number(state.get("momentum")),
        training=_flag(state.get("training")),
        channels=_count(state.get("num_features", state.get("num_channels"))),
        groups=_count(state.get("num_groups")),
        normalized_shape=_sizes(state.get("normalized_shape")),
        affine=_flag(state.get("affine", state.get("elementwise_affine"))),
    )


def plain_class(name: str) -> str:
    """A class name of TorchScript without its namespace and mangling."""
    parts = [part for part in name.split(".") if not part.startswith("___torch_mangle")]
    return ".".join(parts[1:] if parts[0] == "__torch__" else parts)


def join(path: str, name: str) -> str:
    """The path of `name` below the module at `path`."""
    return f"{path}.{name}" if path else name


_TENSORS = (TensorRef, Record)


def _own_tensors(module: Record) -> list[tuple[str, Any]]:
    """What may be a tensor among the parameters and buffers (of TorchScript: the attributes) of a module."""
    state = state_of(module)
    parts = [state] if is_script(module) else [_dict(state, "_parameters"), _dict(state, "_buffers")]
    hidden = state.get("_non_persistent_buffers_set")
    skipped = {name for name in hidden if isinstance(name, str)} if isinstance(hidden, list) else set()
    return [(name, value) for name, value in _named(*parts) if name not in skipped and isinstance(value, _TENSORS)]


def _children(module: Record) -> list[tuple[str, Record]]:
    script = is_script(module)
    found = state_of(module) if script else _dict(state_of(module), "_modules")
    wanted = is_script if script else is_module
    return [(name, value) for name, value in _named(found) if isinstance(value, Record) and wanted(value)]


def _named(*parts: dict[Any, Any]) -> list[tuple[str, Any]]:
    """The entries that have a name, bounded: many modules may share one huge dict."""
    named = [(name, value) for part in parts for name, value in part.items() if isinstance(name, str) and name]
    if len(named) > MAX_ENTRIES:
        raise MalformedError("a module with too many attributes")
    return named


def _dict(state: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    found = state.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    number = scalar_of(value)
    try:
        return None if number is None or isinstance(number, bool) else float(number)
    except OverflowError:
        return None


def _flag(value: Any) -> bool | None:
    number = scalar_of(value)
    return number if isinstance(number, bool) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 2**31 else None


def _sizes(value: Any) -> tuple[int, ...] | None:
    sizes = value if isinstance(value, (tuple, list)) else (value,)
    valid = 0 < len(sizes) <= 8 and all(type(n) is int and 0 <= n < 2**48 for n in sizes)
    return tuple(sizes) if valid else None
