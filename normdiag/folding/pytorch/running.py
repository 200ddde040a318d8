"""Running a torch.export program as it is written: no fused kernels, no gradients, on the CPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from normdiag.errors import InputError
from normdiag.folding.pytorch.streaming import OnDemand, StreamedInterpreter
from normdiag.graph.importers.torch_export import ReadStored
from normdiag.models.pytorch.arrays import Array, to_numpy, to_tensor
from normdiag.models.pytorch.torch_private import pytree
from normdiag.observe.pytorch.values import named_outputs
from normdiag.records import Batch, InputSpec

WIDENED = (torch.float16, torch.bfloat16, torch.float32)


class TorchEvaluator:
    """Runs a program that has no in-place operations. Satisfies `normdiag.folding.backend.Evaluator`."""

    def __init__(
        self,
        program: ExportedProgram,
        tensors: Sequence[str] = (),
        *,
        double: bool = False,
        replaced: Sequence[str] = (),
        read: ReadStored | None = None,
    ) -> None:
        """`tensors` are names of nodes whose values are wanted too; `double` runs all of it in float64.

        `replaced` are names of nodes whose values are handed over with each batch instead of being computed. With
        `read` the stored tensors of which it gives values are read where an operation needs them, and let go again.
        """
        self._program = program
        self._read = read
        self._double = double
        nodes = {node.name: node for node in program.graph.nodes}
        self._names = [name for name in dict.fromkeys(tensors) if _is_tensor(nodes[name])]
        self._replaced = tuple(replaced)
        run = _runnable(program, self._names, double, self._replaced)
        self._run = run if read is None else StreamedInterpreter(run, double=double).run

    def run(self, batch: Batch, replaced: Mapping[str, Array] | None = None) -> Mapping[str, Array]:
        """Outputs by keys and positions ('output' where there is only one), and the tensors by node name.

        Raises InputError where the batch does not fit the program's inputs, or an operator fails.
        """
        arguments = self._arguments(batch)
        arguments += [to_tensor((replaced or {})[name]) for name in self._replaced]
        try:
            with plainly(self._double):
                values = self._run(*arguments)
        except Exception as error:
            shapes = ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in batch.arrays)
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"the model failed on data of {shapes}: {reason}") from error
        specs = self._program.graph_signature.output_specs
        outputs = [value for value, spec in zip(values, specs, strict=False) if spec.kind == OutputKind.USER_OUTPUT]
        named = named_outputs(pytree.tree_unflatten(outputs, self._program.call_spec.out_spec))
        wanted = {name: value for name, value in named.items() if _is_floating(value)}
        inner = values[len(specs) :]
        return wanted | {name: to_numpy(value) for name, value in zip(self._names, inner, strict=True)}

    def _arguments(self, batch: Batch) -> list[Any]:
        """One value for each placeholder: stored tensors, constants, and the arrays."""
        given = _fed(self._program, batch)
        values = []
        for spec in self._program.graph_signature.input_specs:
            of_user = spec.kind == InputKind.USER_INPUT
            value = given[spec.arg.name] if of_user else self._stored(spec.target or "")
            values.append(widened(value) if self._double else value)
        return values

    def _stored(self, name: str) -> Any:
        held = stored(self._program, name)
        if self._read is None or not isinstance(held, Tensor) or not held.is_floating_point():
            return held
        return OnDemand(name, self._read, held)


def samples(batch: Batch, count: int) -> Batch:
    """That many samples of the batch; from the front again where it has fewer."""
    rows = np.arange(count) % batch.size
    return replace(batch, arrays=tuple(array[rows] for array in batch.arrays))


def user_inputs(program: ExportedProgram) -> tuple[InputSpec, ...]:
    """The tensors that a caller hands over, in order, with None for free sizes."""
    specs = []
    for name, value in _user_values(program).items():
        if isinstance(value, Tensor):
            shape = tuple(known_size(size) for size in value.shape)
            specs.append(InputSpec(name, str(value.dtype).removeprefix("torch."), shape))
    return tuple(specs)


def output_names(program: ExportedProgram) -> tuple[str | None, ...]:
    """A name for each output of the graph, as the evaluator gives it; None for what is no output to the caller."""
    outputs = program.graph_signature.output_specs
    kept = [index for index, spec in enumerate(outputs) if spec.kind == OutputKind.USER_OUTPUT]
    marks = [torch.full((), index) for index in kept]  # a tensor that says where it came from
    named = named_outputs(pytree.tree_unflatten(marks, program.call_spec.out_spec))
    names = {int(mark): name for name, mark in named.items()}
    return tuple(names.get(index) for index in range(len(outputs)))


def stored(program: ExportedProgram, target: str) -> Any:
    """The parameter, buffer or constant of that name."""
    held: Mapping[str, Any] = program.state_dict
    return held[target] if target in held else program.constants[target]


def stored_tensors(program: ExportedProgram) -> Iterator[Tensor]:
    """Every tensor that the program holds."""
    for value in (*program.state_dict.values(), *program.constants.values()):
        if isinstance(value, Tensor):
            yield value


def size_bytes(program: ExportedProgram) -> int:
    """What the tensors take, each storage counted once."""
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in stored_tensors(program)}
    return sum(int(storage.nbytes()) for storage in storages.values())


def copy_graph(graph: fx.Graph) -> fx.Graph:
    """A copy whose nodes have the names of the original: torch's own renames what shadows a builtin."""
    copied: fx.Graph = copy.deepcopy(graph)
    for old, new in zip(graph.nodes, copied.nodes, strict=True):
        if new.name != old.name:
            new.name = old.name
    return copied


def known_size(size: int | torch.SymInt) -> int | None:
    """The number, where it is one: torch.export keeps a symbol for a free size that turned out to be fixed."""
    if isinstance(size, int):
        return size
    known = size.node.maybe_as_int()
    return None if known is None else int(known)


def widened(value: Any) -> Any:
    """Floating tensors and floating dtypes as float64."""
    if isinstance(value, Tensor):
        return value.detach().double() if value.dtype in WIDENED else value
    return torch.float64 if isinstance(value, torch.dtype) and value in WIDENED else value


def _runnable(
    program: ExportedProgram, names: Sequence[str], double: bool, replaced: Sequence[str] = ()
) -> fx.GraphModule:
    """The flat program, which takes and returns plain lists, with the named nodes as further outputs."""
    graph = copy_graph(program.graph)
    nodes = {node.name: node for node in graph.nodes}
    _replace(graph, [nodes[name] for name in replaced])
    values: Any = graph.output_node().args[0]
    graph.output_node().args = ((*values, *(nodes[name] for name in names)),)
    module = fx.GraphModule(program.graph_module, graph)
    if double:
        for name, child in list(module.named_children()):
            setattr(module, name, copy.deepcopy(child))
        for each in module.modules():
            _widen(each)
    return module


def _replace(graph: fx.Graph, nodes: Sequence[fx.Node]) -> None:
    """Let whoever reads these nodes read further inputs of the graph instead."""
    last = [node for node in graph.nodes if node.op == "placeholder"][-1:]
    for number, node in enumerate(nodes):
        with graph.inserting_after(*last):
            given = graph.placeholder(f"replaced_{number}")
        node.replace_all_uses_with(given)
        last = [given]


def _widen(module: torch.nn.Module) -> None:
    """Replace the dtypes that stand in the graph."""
    if not isinstance(module, fx.GraphModule):
        return
    for node in module.graph.nodes:
        node.args = pytree.tree_map_only(torch.dtype, widened, node.args)
        node.kwargs = pytree.tree_map_only(torch.dtype, widened, node.kwargs)
    module.recompile()


@contextmanager
def plainly(double: bool) -> Iterator[None]:
    """No gradients, and torch's own reference kernels in place of oneDNN's and NNPACK's."""
    default = torch.get_default_dtype()
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hardware that is not there
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        try:
            if double:  # of what the graph creates without naming a dtype
                torch.set_default_dtype(torch.float64)
            yield
        finally:
            torch.set_default_dtype(default)


def _user_values(program: ExportedProgram) -> dict[str, Any]:
    """By placeholder name: an example without data for a tensor, the value for a constant."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    specs = (spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT)
    return {
        spec.arg.name: spec.arg.value if isinstance(spec.arg, ConstantArgument) else nodes[spec.arg.name].meta["val"]
        for spec in specs
    }


def _fed(program: ExportedProgram, batch: Batch) -> dict[str, Any]:
    """The arrays by placeholder, in the dtypes that the program declares, beside the constants."""
    values = _user_values(program)
    wanted = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    by_position = batch.names is None or len(batch.arrays) == 1
    names = tuple(wanted) if by_position else batch.names or ()
    if len(batch.arrays) != len(wanted) or set(names) != set(wanted):
        given = len(batch.arrays) if by_position else ", ".join(names)
        raise InputError(f"the model takes the inputs {', '.join(wanted)}, and the data has {given}")
    return values | {name: _cast(name, array, wanted[name]) for name, array in zip(names, batch.arrays, strict=True)}


def _cast(name: str, array: Array, declared: Tensor) -> Tensor:
    try:
        value = to_tensor(array)
    except TypeError as error:
        raise InputError(f"the data has dtype {array.dtype}, which PyTorch cannot take as an input") from error
    sizes = [known_size(size) for size in declared.shape]
    if len(sizes) != value.dim() or any(want not in (None, has) for want, has in zip(sizes, value.shape, strict=True)):
        shape = ", ".join("any" if size is None else str(size) for size in sizes)
        raise InputError(f"input {name!r} takes the shape ({shape}), and the data has {tuple(value.shape)}")
    return value.to(declared.dtype)


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_floating(value: Array) -> bool:
    return value.dtype.kind not in "iub"
