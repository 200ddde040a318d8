"""All that normdiag uses of torch's private names, so that a torch without one of them says so here, in one line.

What observing needs is looked up at once, what only exporting needs when it is called: a torch that has lost that still
inspects. tests/models/pytorch/test_torch_private.py names the version that all of it was last seen in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from normdiag.extras import gone

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = [
    "BatchNormBase",
    "HigherOrderOperator",
    "InstanceNormBase",
    "OpOverload",
    "TorchDispatchMode",
    "compiling_flags",
    "fake_copies",
    "fake_mode_of",
    "fake_tensors",
    "has_sizes_alone",
    "is_erased",
    "is_fake",
    "nn_functions",
    "operators",
    "program_of_script",
    "pytree",
    "recording",
    "schema_of",
    "verifier",
]


def _private(module: str, name: str) -> Any:
    """What a module of torch holds under that name. Raises InputError where it no longer does."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise gone("torch", f"{module}.{name}") from error


if TYPE_CHECKING:
    from torch._ops import HigherOrderOperator, OpOverload
    from torch.nn.modules.batchnorm import _BatchNorm as BatchNormBase
    from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNormBase
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode
else:
    HigherOrderOperator = _private("torch._ops", "HigherOrderOperator")
    OpOverload = _private("torch._ops", "OpOverload")
    BatchNormBase = _private("torch.nn.modules.batchnorm", "_BatchNorm")
    InstanceNormBase = _private("torch.nn.modules.instancenorm", "_InstanceNorm")
    pytree = _private("torch.utils", "_pytree")
    TorchDispatchMode = _private("torch.utils._python_dispatch", "TorchDispatchMode")

# The functions of torch.nn.functional that are written in C++.
nn_functions: Any = _private("torch._C", "_nn")


def operators(*names: str) -> frozenset[Any]:
    """The operators of torch.ops.aten of these names, as far as this torch has them: private ones come and go."""
    return frozenset(getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name))


def schema_of(operator: Any) -> torch.FunctionSchema:
    """Name, arguments and results of an operator."""
    schema: torch.FunctionSchema = operator._schema
    return schema


def is_erased(node: fx.Node) -> bool:
    """Whether a node was removed from its graph."""
    return node._erased


def is_fake(value: Tensor) -> bool:
    """Whether a tensor has a shape and no values."""
    return value.is_meta or isinstance(value, _private("torch._subclasses", "FakeTensor"))


def fake_mode_of(values: Sequence[Any]) -> Any:
    """The mode under which torch.export made the fake tensors among these values; None where none is one."""
    return _private("torch._guards", "detect_fake_mode")(values)


def fake_tensors() -> Any:
    """A mode under which tensors have shapes and no values, and what depends on values is an error."""
    return _private("torch._subclasses", "FakeTensorMode")(allow_non_fake_inputs=True)


def has_sizes_alone(value: Tensor) -> bool:
    """Whether a tensor is strided, has no values, and is not one whose value torch knows all the same, as a number."""
    if type(value) is not _private("torch._subclasses", "FakeTensor"):
        return False
    return value.layout == torch.strided and value.constant is None  # type: ignore[attr-defined]


def fake_copies(value: Tensor) -> Callable[[], Tensor]:
    """What makes tensors without values of the sizes, strides, dtype and device of one of them."""
    with _private("torch.utils._mode_utils", "no_dispatch")():
        plain = value.detach()
    fake, mode = type(value), value.fake_mode  # type: ignore[attr-defined]
    return partial(fake, mode, plain, value.device)


def compiling_flags() -> Any:
    """A context in which code that asks torch.compiler is told that it is being exported."""
    return _private("torch._export.utils", "_compiling_state_context")()


@contextmanager
def recording(call: Callable[[Any, Any, Any], Any]) -> Iterator[None]:
    """Inside, `call(operator, args, kwargs)` answers for each operator, before torch takes it apart."""
    base: Any = _private("torch.fx.experimental.proxy_tensor", "ProxyTorchDispatchMode")

    class Recorder(base):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return call(func, args, kwargs or {})

    with _private("torch._dispatch.python", "enable_python_dispatcher")(), Recorder(None, "real", pre_dispatch=True):
        yield


def verifier() -> Any:
    """What checks a program as torch.export gives it, in-place operations and all."""
    return _private("torch._export.verifier", "TrainingIRVerifier")


def program_of_script(module: torch.jit.ScriptModule, args: tuple[Any, ...]) -> ExportedProgram:
    """A TorchScript module as a torch.export program, by torch's own converter."""
    program: ExportedProgram = _private("torch._export.converter", "TS2EPConverter")(module, args).convert()
    return program
