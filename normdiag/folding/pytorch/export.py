"""From a live module to a torch.export program without in-place operations, on which graph edits are safe."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from normdiag.errors import InputError
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch.editor import ProgramEditor
from normdiag.folding.pytorch.functional import functional
from normdiag.folding.pytorch.running import TorchEvaluator, known_size, plainly, samples, user_inputs
from normdiag.models.pytorch.arrays import Array
from normdiag.models.pytorch.layers import require_initialised, unwrap
from normdiag.models.pytorch.quiet import quiet
from normdiag.models.pytorch.torch_private import program_of_script, pytree
from normdiag.observe.pytorch.guard import untouched
from normdiag.observe.pytorch.values import as_inputs, model_dtype, named_outputs
from normdiag.records import Batch, is_ragged
from normdiag.usercode import user_code

CPU = torch.device("cpu")
ADVICE = "export it to ONNX in your own code and fold that file"
# The program runs the same operators on the same numbers; only their order within a sum may differ.
SAME = {torch.float64: 1e-9, torch.float32: 1e-3}
SAME_IN_HALF = 3e-2


@dataclass(frozen=True, eq=False)
class ExportedModule:
    """A program, and the module that it was made from: a copy in eval mode, None where only a program was given."""

    program: ExportedProgram
    module: nn.Module | None
    example: Batch
    notes: tuple[str, ...] = ()


def export_program(
    source: nn.Module | ExportedProgram, batch: Batch, options: ExportOptions, *, share: bool = False
) -> ExportedModule:
    """The computation of `source` in eval mode, as a functional program on the CPU; `source` is not changed.

    `batch` is an example of the input. That the batch size can be free is found out with two samples of it; where the
    code of the model depends on their number, the program is fixed to the number in `batch`, and a note says so. With
    `share` it is for reading: it has the tensors of the module itself where they are on the CPU, all of its sizes are
    those of `batch`, and nothing is run: that takes a fraction of the time. Raises InputError where the module
    cannot run on the batch, cannot be copied, or cannot be exported.
    """
    if isinstance(source, ExportedProgram):
        return ExportedModule(functional(source), None, batch)
    if share and batch.size > 1:  # of one sample, an axis of size 1 says little
        return ExportedModule(_to_be_read(unwrap(source), batch, options), None, batch)
    module = deployed_copy(unwrap(source), share=share)
    if 0 not in options.dynamic_axes:
        return _checked(module, batch, options)
    with suppress(_FixedError, InputError):
        return _checked(module, samples(batch, 2), options)
    size = _declared_size(module) or batch.size
    fixed = replace(options, dynamic_axes=tuple(axis for axis in options.dynamic_axes if axis))
    note = f"the batch size is fixed at {size}: the code of the model does not leave it free"
    return replace(_checked(module, samples(batch, size), fixed), notes=(note,))


def exported_as_it_is(module: nn.Module, batch: Batch, options: ExportOptions) -> ExportedProgram:
    """The computation of a module that is in eval mode already, around its own tensors; nothing of it is run.

    Sizes are those of `batch`, but for the axes that the options leave free. Raises InputError where it cannot be
    exported.
    """
    try:
        return functional(_exported(module, batch, options))
    except _FixedError as error:
        raise InputError(f"torch.export cannot take this model with a free number of samples: {error}") from error


def deployed_copy(module: nn.Module, *, share: bool = False) -> nn.Module:
    """A copy on the CPU in eval mode, with the flags set one by one: models override eval() with side effects.

    `share`: what is copied are the modules, around the same tensors where all of these are on the CPU already.
    """
    require_initialised(module)
    stored = [*module.parameters(), *module.buffers()] if share else []
    shared = stored if all(tensor.device == CPU for tensor in stored) else []
    known = _computed(module) | _empty(module) | {id(tensor): tensor for tensor in shared}
    try:
        with quiet():
            copied = copy.deepcopy(module, known)
            copied = copied if shared else copied.to(CPU)
    except Exception as error:
        raise InputError(f"the model cannot be copied, and is never changed itself: {_reason(error)}") from error
    for each in copied.modules():
        if getattr(each, "training", False):
            each.training = False
    return copied


def _computed(module: nn.Module) -> dict[int, Any]:
    """Copies of tensors computed under autograd, as the weight of weight_norm is: deepcopy itself refuses them."""
    held = (value for each in module.modules() for value in vars(each).values())
    return {
        id(value): value.detach().clone() for value in held if isinstance(value, torch.Tensor) and not value.is_leaf
    }


def _empty(module: nn.Module) -> dict[int, Any]:
    """Copies of what modules hold empty, as hooks that nobody has: deepcopy spends half of its time on these."""
    held = (value for each in module.modules() for value in vars(each).values())
    return {id(value): type(value)() for value in held if type(value) in (dict, OrderedDict, set) and not value}


def eager_outputs(module: nn.Module, example: Batch) -> dict[str, Array]:
    """The outputs of the module itself, those of floating-point numbers, by the kernels that the program runs on.

    Raises InputError where the module cannot run on the example.
    """
    args, kwargs = as_inputs(example, model_dtype(module), CPU, torch.contiguous_format)
    shapes = ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in example.arrays)
    with plainly(double=False), untouched(module, CPU), user_code("the model", f"failed on an input of {shapes}"):
        outputs = named_outputs(module(*args, **kwargs))
    return {name: value for name, value in outputs.items() if value.dtype.kind not in "iub"}


def different_output(expected: Mapping[str, Array], found: Mapping[str, Array], dtype: torch.dtype) -> str | None:
    """The name of an output of a module that its program does not have, or not as near as `dtype` allows."""
    limit = SAME.get(dtype, SAME_IN_HALF)
    return next(
        (name for name, value in expected.items() if name not in found or not _close(found[name], value, limit)), None
    )


class _FixedError(Exception):
    """The batch size did not stay free."""


def _checked(module: nn.Module, example: Batch, options: ExportOptions) -> ExportedModule:
    """Export, and compare the program with the module on the example."""
    expected = eager_outputs(module, example)  # tells what is wrong with data or code better than an export does
    program = functional(_exported(module, example, options))
    if 0 in options.dynamic_axes and any(spec.shape and spec.shape[0] for spec in user_inputs(program)):
        raise _FixedError
    wrong = different_output(expected, TorchEvaluator(program).run(example), model_dtype(module))
    if wrong:
        raise InputError(
            f"torch.export's program of this model gives another {wrong!r} than the model itself; does it draw random "
            f"numbers? If not, {ADVICE}"
        )
    return ExportedModule(program, None if isinstance(module, torch.jit.ScriptModule) else module, example)


def _to_be_read(source: nn.Module, batch: Batch, options: ExportOptions) -> ExportedProgram:
    """A program that shares the tensors of the source: recorded where that can be, else exported."""
    if not isinstance(source, (torch.jit.ScriptModule, torch.fx.GraphModule)):
        with suppress(Exception):
            return _traced(deployed_copy(source, share=True), batch)
    return functional(_exported(deployed_copy(source, share=True), batch, replace(options, dynamic_axes=())))


def _traced(module: nn.Module, example: Batch) -> ExportedProgram:
    from normdiag.folding.pytorch.tracing import traced_program

    args, kwargs = as_inputs(example, model_dtype(module), CPU, torch.contiguous_format)
    with quiet(), untouched(module, CPU):
        return traced_program(module, args, _in_order(module, kwargs))


def _exported(module: nn.Module, example: Batch, options: ExportOptions) -> ExportedProgram:
    if example.fixed or any(map(is_ragged, example.arrays)):
        raise InputError(f"the model takes numbers or lists, with which it is not exported here; {ADVICE}")
    args, kwargs = as_inputs(example, model_dtype(module), CPU, torch.contiguous_format)
    try:
        with quiet(), untouched(module, CPU):
            if isinstance(module, torch.jit.ScriptModule):
                return _from_script(module, args, kwargs)
            shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
            kwargs = _in_order(module, kwargs)
            for value in (*args, *kwargs.values()):
                shapes[value] = {axis: Dim.AUTO for axis in options.dynamic_axes if axis < value.dim()}
            program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        if 0 in options.dynamic_axes:
            raise _FixedError from error
        raise InputError(f"torch.export cannot take this model: {_reason(error)}; {ADVICE}") from error
    # What would be kept in a .pt2 file is not the user's data.
    program.example_inputs = pytree.tree_map_only(torch.Tensor, torch.zeros_like, program.example_inputs)
    return program


def _in_order(module: nn.Module, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments as the forward has them: before 2.7, torch.export mixes them up in another order."""
    order = list(inspect.signature(module.forward).parameters)
    return dict(sorted(kwargs.items(), key=lambda each: order.index(each[0]) if each[0] in order else len(order)))


def _from_script(module: torch.jit.ScriptModule, args: Any, kwargs: Any) -> ExportedProgram:
    """TorchScript by torch's own converter, which leaves all sizes free, under the input names of the forward."""
    forward: Any = module.forward
    names = [argument.name for argument in forward.schema.arguments[1:]]
    program = program_of_script(module, args or tuple(kwargs[name] for name in names if name in kwargs))
    editor = ProgramEditor(program)
    editor.name_inputs(names if args else [name for name in names if name in kwargs])
    return editor.finish()


def _declared_size(module: nn.Module) -> int | None:
    """The batch size of a module that came out of a torch.export program with a fixed one."""
    if not isinstance(module, torch.fx.GraphModule):
        return None
    values = (node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder")
    return next(
        (known_size(value.shape[0]) for value in values if isinstance(value, torch.Tensor) and value.dim()), None
    )


def _close(found: Array, expected: Array, limit: float) -> bool:
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape:
        return False
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=0.0, atol=limit * largest, equal_nan=True))


def _reason(error: BaseException) -> str:
    """The first line of torch's message, and of a long one the first sentence: advice for its developers follows."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
    return (line if len(line) <= 160 else line.partition(". ")[0])[:300].rstrip(".")
