"""A module built by the user's own code, with the weights of a file that was read without running anything."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normdiag.errors import InputError, UsageError
from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.put_weights import put_weights
from normdiag.usercode import load_object, user_code
from normdiag.wording import abridged

if TYPE_CHECKING:
    from normdiag.models.static import StaticFile

# torch itself tolerates that files older than version 0.4.1 do not have it.
OPTIONAL = "num_batches_tracked"
LISTED = 5


def build_arch(spec: str, arguments: Sequence[str] = ()) -> nn.Module:
    """Call the factory named by `spec` ("net.py:Net" or "package.module:Net") with arguments such as "num_classes=10".

    Values are Python literals, or strings where they are none. Raises UsageError for arguments of another form,
    InputError where the code cannot be imported, raises, or does not return a torch.nn.Module.
    """
    factory = load_object(spec, "--arch")
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise InputError(f"--arch {spec} is a {type(factory).__name__}, neither a factory nor a torch.nn.Module")
    named = dict(_argument(each) for each in arguments)
    with user_code(f"--arch {spec}", "failed"):
        module = factory(**named)
    if not isinstance(module, nn.Module):
        raise InputError(f"--arch {spec} returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def load_weights(module: nn.Module, static: StaticFile) -> None:
    """Copy the tensors of the file into the module, which must want exactly these names and shapes.

    Raises InputError that lists what is missing, unexpected or of another shape.
    """
    wanted = require_fit(module, static)
    put_weights(module, {name: to_tensor(static.tensors[name]) for name in wanted if name in static.tensors})


def require_fit(module: nn.Module, static: StaticFile) -> Mapping[str, Tensor]:
    """The module's tensors by name. Raises InputError where those of the file have other names or shapes."""
    wanted = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    problems = _mismatches(wanted, static.tensors)
    if problems:
        raise InputError(f"the weights do not fit the module of --arch: {'; '.join(problems)}")
    return wanted


def build_empty_arch(spec: str, arguments: Sequence[str], static: StaticFile) -> nn.Module:
    """The module with its parameters on the meta device, where the weights of the file are known to fit.

    Raises as `build_arch` and `load_weights` do.
    """
    import accelerate

    with accelerate.init_empty_weights(include_buffers=False):
        module = build_arch(spec, arguments)
    require_fit(module, static)
    return module


def _argument(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise UsageError(f"--arch-arg {text}: give it as name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def _mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> list[str]:
    """One phrase for each way in which the names and shapes differ."""
    missing = [name for name in wanted if name not in given and not name.endswith(OPTIONAL)]
    unexpected = [name for name in given if name not in wanted and not name.endswith(OPTIONAL)]
    misshapen = [
        f"{name} is {tuple(given[name].shape)} in the file and {tuple(value.shape)} in the module"
        for name, value in wanted.items()
        if name in given and not _fits(value, given[name])
    ]
    groups = {"missing in the file": missing, "unexpected": unexpected, "of another shape": misshapen}
    return [f"{len(names)} {what}: {abridged(names, LISTED)}" for what, names in groups.items() if names]


def _fits(value: Tensor, array: Any) -> bool:
    return is_lazy(value) or tuple(value.shape) == tuple(array.shape)
