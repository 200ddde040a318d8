"""A PyTorch module in half precision on the CPU, but for some of its norms."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.models.pytorch.layers import named_modules
from normdiag.observe.pytorch import TorchRunner
from normdiag.observe.pytorch.values import tensors
from normdiag.precision.pytorch.kernels import NormKernels
from normdiag.records import Batch, Model
from normdiag.records.model import Array
from normdiag.records.precision import Half

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class MixedModule:
    """Satisfies `normdiag.precision.mixed.MixedModel`; the module is not touched, a copy in half precision runs."""

    def __init__(self, model: Model, runner: TorchRunner, target: Half) -> None:
        """`runner` runs the model in float32. Raises InputError for one in another format, or that cannot be copied."""
        module: nn.Module = model.program
        dtypes = {value.dtype for value in module.parameters() if value.is_floating_point()}
        if dtypes - {torch.float32, torch.float64}:
            raise InputError("its weights are in half precision already; load them in float32")
        self._dtype, self._runner = DTYPES[target], runner
        try:
            half = copy.deepcopy(module).to("cpu", self._dtype)
        except Exception as error:  # of code that is not ours
            raise InputError(f"it cannot be copied in {self._name}: {error}"[:300]) from error
        self._half = TorchRunner(replace(model, program=half), device="cpu")
        self._modules, self._exact = dict(named_modules(half)), dict(named_modules(module))
        self._norms = tuple(layer.name for layer in runner.layers())

    @property
    def where(self) -> str:
        """PyTorch's own kernels."""
        return f"PyTorch in {self._name} on the CPU"

    @property
    def norms(self) -> tuple[str, ...]:
        """In the order in which they ran."""
        return self._norms

    def nodes(self, _: str) -> tuple[str, ...]:
        """None: they are modules."""
        return ()

    def exact(self, batch: Batch) -> Mapping[str, Array]:
        """The outputs of the module as it is."""
        return self._runner.outputs(batch)

    def first_lost(self, batch: Batch) -> str | None:
        """The path of the module that returns it first."""
        lost: list[str] = []

        def look(name: str, output: Any) -> None:
            if not all(value.isfinite().all() for _, value in tensors(output) if value.is_floating_point()):
                lost.append(name)

        with ExitStack() as stack:
            for name, module in self._modules.items():
                handle = module.register_forward_hook(lambda _, args, output, name=name: look(name, output))
                stack.callback(handle.remove)
            self.run(batch, frozenset(self._norms), stored_sums=False)
        return lost[0] if lost else None

    def run(self, batch: Batch, kept: frozenset[str], *, stored_sums: bool) -> Mapping[str, Array]:
        """The outputs of the copy. Raises InputError where PyTorch cannot run it in half precision."""
        modules = {name: self._modules[name] for name in kept if name in self._modules}
        with ExitStack() as stack:
            for name, module in modules.items():
                stack.enter_context(_in_float32(module, self._exact[name], self._dtype))
            kernels = NormKernels(kept, frozenset(modules), stored_sums=stored_sums)
            return self._half.outputs_under(batch, lambda: kernels)

    @property
    def _name(self) -> str:
        return str(self._dtype).removeprefix("torch.")


@contextmanager
def _in_float32(module: nn.Module, exact: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """A module with the parameters that it had before, between two casts."""
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    module.float()
    module.load_state_dict(exact.state_dict())
    given = module.register_forward_pre_hook(lambda _, args, kw: _cast((args, kw), torch.float32), with_kwargs=True)
    put_out = module.register_forward_hook(lambda _, args, output: _cast(output, dtype))
    try:
        yield
    finally:
        given.remove()
        put_out.remove()
        module.to(dtype)
        module.load_state_dict(before)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors in another dtype, in tuples, lists and dicts as well."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _cast(each, dtype) for key, each in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_cast(each, dtype) for each in value)
    return value
