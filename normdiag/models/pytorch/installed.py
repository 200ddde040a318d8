"""Classes and functions that a file may name: those of installed packages on a short list, and no others."""

from __future__ import annotations

import importlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from enum import EnumMeta
from pathlib import Path
from typing import Any

import torch
from torch import fx, jit, nn
from torch.nn.modules.lazy import LazyModuleMixin

from normdiag.errors import InputError
from normdiag.models.static.inert import Global, shown

# Where the modules of each package lie that do nothing but compute. Their top packages import all of them.
PLACES = {
    "torch": ("torch.nn.modules.",),
    "torchvision": ("torchvision.models.", "torchvision.ops."),
    "timm": ("timm.models.", "timm.layers."),
}
_TOPS = {"torchvision": ("torchvision.models", "torchvision.ops"), "timm": ("timm.models", "timm.layers")}
# Modules that carry code of the file with them, or that would run some when they are first called.
_REFUSED = (fx.GraphModule, jit.ScriptModule, LazyModuleMixin)
# Functions of one tensor without a side effect, where models keep them as attributes.
_PURE = frozenset(
    {
        *("relu", "relu6", "gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "sigmoid", "tanh", "softplus"),
        *("hardswish", "hardsigmoid", "hardtanh", "logsigmoid", "softsign", "tanhshrink", "swish", "hard_swish"),
        *("hard_sigmoid", "hard_mish", "gelu_tanh", "quick_gelu"),
    }
)
_FUNCTIONS = ("torch.nn.functional", "torch._C._nn", "torch", "timm.layers.activations")
_ENUMS = frozenset({"timm.layers.format.Format"})


class RefusedError(InputError):
    """What a file asks for is not built: the reason, without the path of the file.

    `options` are those of the command line with which it would be, each set complete; `fitting` are the names of the
    known architectures that these build, in the same order.
    """

    def __init__(self, reason: str, options: Sequence[str] = (), fitting: Sequence[str] = ()) -> None:
        """The reason comes without a full stop."""
        super().__init__(reason)
        self.options, self.fitting = tuple(options), tuple(fitting)


def module_class(named: Global, allowed: Sequence[str] = ()) -> type[nn.Module]:
    """The torch.nn.Module subclass of this name, defined in a listed place or a module that the user `allowed`.

    Nothing is imported by a name out of the file but what lies in a package that the user allowed. Raises RefusedError
    for everything else.
    """
    found: Any = _defining_module(named, allowed)
    for part in named.name.split("."):
        found = vars(found).get(part) if found is not None else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise RefusedError(f"{_shown(named)} is no module class of the version that is installed")
    if found.__module__ != named.module or found.__qualname__ != named.name:
        raise RefusedError(f"{_shown(named)} is defined elsewhere, as {found.__module__}.{found.__qualname__}")
    if issubclass(found, _REFUSED) or found.__new__ is not object.__new__:
        raise RefusedError(f"{_shown(named)} carries code of the file, or builds itself by code of its own")
    return found


def pure_function(named: Global) -> Any | None:
    """The activation function of this name, if it is a listed one."""
    if named.module not in _FUNCTIONS or named.name not in _PURE:
        return None
    _package(named.module.partition(".")[0])
    return getattr(sys.modules.get(named.module), named.name, None)


def torch_constant(named: Global) -> torch.dtype | torch.memory_format | torch.layout | None:
    """A dtype, memory format or layout of torch."""
    found = vars(torch).get(named.name) if named.module == "torch" else None
    return found if isinstance(found, (torch.dtype, torch.memory_format, torch.layout)) else None


def enum_member(named: Global, value: Any) -> Any | None:
    """The member of a listed enum that has this value."""
    if named.path not in _ENUMS or not isinstance(value, (str, int)):
        return None
    _package(named.module.partition(".")[0])
    kind = vars(sys.modules[named.module]).get(named.name)
    members: list[Any] = list(kind) if isinstance(kind, EnumMeta) else []
    return next((each for each in members if each.value == value), None)


def require_package(name: str) -> None:
    """Import a listed package. Raises RefusedError where it is missing, or lies where anybody could put it."""
    _package(name)


def _defining_module(named: Global, allowed: Sequence[str]) -> Any:
    top = named.module.partition(".")[0]
    if any(f"{named.module}.".startswith(place) for place in PLACES.get(top, ())):
        _package(top)
        return sys.modules.get(named.module)
    if any(f"{named.module}.".startswith(f"{each}.") for each in allowed):
        try:
            return importlib.import_module(named.module)
        except Exception as error:
            raise RefusedError(f"{_shown(named)} cannot be imported: {type(error).__name__}: {error}") from error
    raise RefusedError(f"{_shown(named)} is not a class of torch.nn, torchvision or timm")


def _package(name: str) -> None:
    if name == "torch":
        return
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    origin = getattr(sys.modules.get(name), "__file__", None) or (spec.origin if spec else None)
    if origin is None:
        raise RefusedError(f"the package {name} is not installed: pip install {name}")
    folder = Path(origin).resolve().parent.parent
    if folder not in set(_installed_folders()):
        raise RefusedError(f"{name} would be imported from {folder}, where packages are not installed")
    for module in _TOPS.get(name, (name,)):
        try:
            importlib.import_module(module)
        except Exception as error:
            raise RefusedError(f"the package {name} cannot be imported: {type(error).__name__}: {error}") from error


def _installed_folders() -> Iterator[Path]:
    """Where installers put packages; the current folder, though on sys.path under `python -m`, is none of them."""
    yield Path(torch.__file__).resolve().parent.parent
    paths = sysconfig.get_paths()
    for path in (*site.getsitepackages(), site.getusersitepackages(), paths["purelib"], paths["platlib"]):
        yield Path(path).resolve()


def _shown(named: Global) -> str:
    return shown(named.path.strip("."), 120)
