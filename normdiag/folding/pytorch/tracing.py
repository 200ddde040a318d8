"""The computation of a module, recorded while it runs on tensors without values: what torch.export does, for reading.

torch.export also keeps sizes free, guards, stack traces and regions of their own, and takes several times as long.
Where a module does what only that can express, nothing is recorded.
"""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate
from torch.utils.weak import WeakTensorKeyDictionary

from normdiag.folding.pytorch.functional import in_plain_form
from normdiag.folding.pytorch.known_results import KnownResults
from normdiag.folding.pytorch.stored_inputs import StoredInputs
from normdiag.graph.importers.torch_export.aliases import is_in_place
from normdiag.graph.importers.torch_export.calls import reads_shape_only
from normdiag.models.pytorch.torch_private import OpOverload, compiling_flags, fake_tensors, is_fake, pytree, recording

_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


class BeyondTracingError(Exception):
    """The module does what only torch.export can express."""


def traced_program(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """The program of a module in eval mode, without in-place operations, all sizes being those of the arguments.

    Nodes, stored tensors and modules have the names that torch.export gives them. The module is called, and must be a
    copy of the user's. Raises BeyondTracingError, or whatever its code raises on tensors without values, where
    torch.export must do it.
    """
    recorder = _Recorder(module)
    values, in_spec = pytree.tree_flatten((args, kwargs))
    fakes = [recorder.input(name, value) for name, value in zip(_names(module, args, kwargs), values, strict=True)]
    given, by_name = pytree.tree_unflatten(fakes, in_spec)
    with recorder.recording():
        result = torch.func.functional_call(module, recorder.stored, given, by_name)
    results, out_spec = pytree.tree_flatten(result)
    return recorder.inputs.program(recorder.finish(results), in_spec, out_spec)


class _Recorder:
    """A graph in the making."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._fakes, self._results = fake_tensors(), KnownResults()
        self._nodes = WeakTensorKeyDictionary()
        self._modules: list[tuple[str, tuple[str, str]]] = []
        self._region = _region()
        self._graph = fx.Graph()
        self.inputs = StoredInputs(self._graph, module)
        self.stored = {name: self._fake(node, value) for name, node, value in self.inputs.stored()}

    def input(self, name: str, value: Tensor) -> Any:
        """A tensor that the caller hands over, without its values."""
        return self._fake(self.inputs.user_input(name), value)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, every operator that is called becomes a node."""
        plain = torch.backends.cudnn.flags(enabled=False)  # which is an argument of a batch norm
        with compiling_flags(), plain, self._fakes, recording(self._call), self._watched():
            yield

    def finish(self, results: list[Any]) -> list[Any]:
        """End the graph with these results; they are returned as nodes, and numbers as they are."""
        outputs = [self._node(value) for value in results]
        self._graph.output(tuple(outputs))
        in_plain_form(self._graph)
        if any(is_in_place(node) for node in self._graph.nodes):
            raise BeyondTracingError("tensors that others see change in place")
        return outputs

    def _call(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator and keep what it was called with."""
        if function is torch.ops.prim.device.default:
            return function(*args, **kwargs)
        if not isinstance(function, OpOverload) or _region() != self._region:
            raise BeyondTracingError(f"{function} holds a graph, or runs in another precision or mode")
        if function is torch.ops.aten.lift_fresh.default:  # as export does: a constant is not to be written into
            function = torch.ops.aten.lift_fresh_copy.default
        read = map_aggregate(args, self._node), map_aggregate(kwargs, self._node)
        value = self._results(function, args, kwargs)
        parts = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(part, Tensor) for part in parts):
            raise BeyondTracingError(f"{function} returns no tensor")
        node = self._create(function, *read)
        if isinstance(value, Tensor):
            # Of one that is made out of no values, torch hands on a copy if anybody holds it.
            made = not node.all_input_nodes or reads_shape_only(node)
            self._keep(node, value, value.detach() if made else value)
        else:
            node.meta["val"] = value
            for index, part in enumerate(value):
                self._keep(self._create(operator.getitem, (node, index), {}), part, part)
        return value

    def _create(self, target: Any, args: Any, kwargs: Any) -> fx.Node:
        name = target.overloadpacket.__name__ if isinstance(target, OpOverload) else target.__name__
        name = name[2:-2] if name.startswith("__") else name
        node = self._graph.create_node("call_function", target, args, kwargs, name)
        node.meta["nn_module_stack"] = dict(self._modules)
        return node

    def _keep(self, node: fx.Node, value: Tensor, held: Tensor) -> None:
        """Let a node stand for a tensor from now on; `held` has its sizes."""
        self._nodes[value] = node
        node.meta["val"] = held

    def _fake(self, node: fx.Node, value: Tensor) -> Any:
        fake = self._fakes.from_tensor(value, static_shapes=True)
        self._keep(node, fake, fake)
        return fake

    def _node(self, value: Any) -> Any:
        """The node of a tensor; other values are their own."""
        if isinstance(value, _SYMBOLIC):
            raise BeyondTracingError("numbers that depend on the data")
        if not isinstance(value, Tensor):
            return value
        if value not in self._nodes:
            if is_fake(value) or type(value) not in (Tensor, nn.Parameter):
                raise BeyondTracingError(f"a {type(value).__name__} that no operator returned")
            self._nodes[value] = node = self.inputs.constant(value, self._modules[-1][1][0] if self._modules else "")
            node.meta["val"] = self._fakes.from_tensor(value, static_shapes=True)
        return self._nodes[value]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Inside, it is known which module runs, and which call of it that is."""
        modules = dict(self._module.named_modules(remove_duplicate=False))
        if len({id(each) for each in modules.values()}) < len(modules):
            raise BeyondTracingError("a module under two names")
        with ExitStack() as stack:
            calls: Counter[str] = Counter()
            for path, each in modules.items():
                enter = partial(_enter, self._modules, calls, path)
                stack.enter_context(each.register_forward_pre_hook(enter, prepend=True))
                leave = partial(_leave, self._modules)
                stack.enter_context(each.register_forward_hook(leave, always_call=True))
            yield


def _enter(running: list[Any], calls: Counter[str], path: str, module: nn.Module, *_: Any) -> None:
    key = f"L__self__{path}@{calls[path]}" if calls[path] else f"L__self__{path}"
    calls[path] += 1
    running.append((key, (path, f"{type(module).__module__}.{type(module).__qualname__}")))


def _leave(running: list[Any], *_: Any) -> None:
    running.pop()


def _names(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Names for what is handed over by position, as the forward has them, and for what is by name."""
    signature = inspect.signature(module.forward)
    names: list[str] = []
    for name, value in signature.bind_partial(*args).arguments.items():
        several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names += [f"{name}_{index}" for index in range(len(value))] if several else [name]
    return [*names, *kwargs]


def _region() -> tuple[bool, bool]:
    """What torch.export makes regions for."""
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
