"""A torch.export program built anew from its JSON as an fx graph: torch.export.load, which can run code, is not called.

Every node is looked up in a list of operators, every argument is a number, a string or another node. Symbolic sizes are
recomputed by the graph itself, so that their expressions are never evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from normdiag.models.pytorch.arguments import ArgumentReader, child, entry, only
from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.pytorch.operators import operator_named
from normdiag.models.pytorch.tree_spec import structured
from normdiag.models.static.inert import MalformedError, shown
from normdiag.models.static.staticfile import Array, ExportedProgramFile
from normdiag.records import InputSpec

MAX_NODES = 100_000
_STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"}
_DTYPES |= {12: "bool", 13: "bfloat16"}


def rebuild_program(
    exported: ExportedProgramFile, weights: Mapping[str, Array]
) -> tuple[fx.GraphModule, tuple[InputSpec, ...]]:
    """The program as a module over copies of its weights and constants, and its inputs at the sizes of its example.

    Raises RefusedError for operators that are not on the list and for what is not a graph of tensors alone,
    MalformedError for a program that contradicts itself.
    """
    graph_module = child(exported.program, "graph_module")
    graph = child(graph_module, "graph")
    builder = _GraphBuilder(graph_module, {**exported.constants, **weights})
    builder.inputs()
    nodes = graph.get("nodes")
    if not isinstance(nodes, list):
        raise MalformedError("the exported program has no nodes")
    if len(nodes) > MAX_NODES:
        raise RefusedError(f"the program has {len(nodes)} operations, of which at most {MAX_NODES} are run")
    for node in nodes:
        builder.node(node if isinstance(node, dict) else {})
    builder.outputs()
    return builder.finish(), builder.specs


class _GraphBuilder:
    """The graph so far: which node each name of the file stands for."""

    def __init__(self, graph_module: dict[str, Any], tensors: Mapping[str, Array]) -> None:
        self._graph_module = graph_module
        self._signature = child(graph_module, "signature")
        self._values = child(child(graph_module, "graph"), "tensor_values")
        self._tensors = tensors
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._named: dict[str, Any] = {}
        self._buffers: dict[str, str] = {}
        self._read = ArgumentReader(self._named)
        self.specs: tuple[InputSpec, ...] = ()

    def inputs(self) -> None:
        """Placeholders for what the caller gives, get_attr nodes for what is stored."""
        stored = []
        for spec in _entries(self._signature, "input_specs"):
            kind, held = only(spec)
            if kind == "user_input":
                self._placeholder(held)
            elif kind in _STORED:
                stored.append((kind, held))
            elif kind == "constant_input":
                raise RefusedError("the program takes inputs that are no tensors")
            else:
                raise RefusedError(f"the program takes a {shown(kind)}, which is no tensor")
        if not self.specs:
            raise RefusedError("the program takes no tensor")
        for kind, held in stored:
            self._get_attr(kind, held)

    def _placeholder(self, held: Any) -> None:
        kind, value = only(child(held, "arg"))
        name = value.get("name") if isinstance(value, dict) else None
        if kind != "as_tensor" or not isinstance(name, str):
            raise RefusedError("the program takes inputs that are no tensors")
        node = self._graph.placeholder(name if name.isidentifier() else f"input_{len(self.specs)}")
        self._define(name, node)
        spec = _spec(name, child(self._values, name))
        self.specs = (*self.specs, spec)
        sizes = [size for size in spec.shape or () if size is not None]
        if sizes and len(sizes) == len(spec.shape or ()):
            node.meta["val"] = torch.empty(sizes, dtype=getattr(torch, spec.dtype), device="meta")

    def _get_attr(self, kind: str, held: Any) -> None:
        target, name = entry(held, _STORED[kind]), child(held, "arg").get("name")
        if not isinstance(target, str) or not isinstance(name, str):
            raise MalformedError(f"a {kind} of the exported program has no name")
        if target not in self._tensors:
            raise MalformedError(f"the exported program uses '{shown(target)}', which the file does not hold")
        self._store(target, kind == "parameter")
        self._define(name, self._graph.get_attr(target))
        self._buffers[target] = name

    def _store(self, target: str, parameter: bool) -> None:
        *path, last = target.split(".")
        owner = self._root
        for part in path:
            if part not in owner._modules:
                _check_name(part, target)
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        _check_name(last, target)
        value = to_tensor(self._tensors[target])
        if last in owner._parameters or last in owner._buffers:
            return
        if parameter:
            owner.register_parameter(last, nn.Parameter(value, value.is_floating_point()))
        else:
            owner.register_buffer(last, value)

    def node(self, node: dict[str, Any]) -> None:
        """One call of a listed operator, under all the names of its results."""
        target = node.get("target")
        function = operator_named(target if isinstance(target, str) else "")
        args, kwargs = self._read.call(function, _entries(node, "inputs"))
        made = self._graph.call_function(function, args, kwargs)
        stack = _module_stack(child(node, "metadata").get("nn_module_stack"))
        if stack:
            made.meta["nn_module_stack"] = stack
        results = _entries(node, "outputs")
        if len(results) == 1:
            kind, value = only(results[0])
            if kind in ("as_tensors", "as_optional_tensors"):
                results = [{"as_tensor": each} if "name" in each else each for each in value if isinstance(each, dict)]
            else:
                self._define_result(results[0], made)
                return
        for index, result in enumerate(results):
            self._define_result(result, self._graph.call_function(operator_named("_operator.getitem"), (made, index)))

    def _define_result(self, result: Any, made: fx.Node) -> None:
        kind, value = only(result)
        if kind == "as_none":
            return
        name = value.get("name", value.get("as_name")) if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise MalformedError("a result of the exported program has no name")
        self._define(name, made)

    def _define(self, name: str, node: fx.Node) -> None:
        if name in self._named:
            raise MalformedError(f"the exported program defines '{shown(name)}' twice")
        self._named[name] = node
        if name.isidentifier():
            node.name = name

    def outputs(self) -> None:
        """What the caller gets, in the structure that the model's code returned; buffers that it writes are written."""
        found = []
        for spec in _entries(self._signature, "output_specs"):
            kind, held = only(spec)
            if kind == "buffer_mutation":
                self._write_buffer(held)
            elif kind == "user_output":
                found.append(self._read.value(child(held, "arg")))
            else:
                raise RefusedError(f"the program returns a {shown(kind)}")
        calls = _entries(self._graph_module, "module_call_graph")
        spec = child(calls[0] if calls and isinstance(calls[0], dict) else {}, "signature").get("out_spec")
        self._graph.output(structured(spec, found))

    def _write_buffer(self, held: Any) -> None:
        buffer, name = entry(held, "buffer_name"), child(held, "arg").get("name")
        known = isinstance(buffer, str) and isinstance(name, str)
        if not known or buffer not in self._buffers or name not in self._named:
            raise MalformedError("the exported program writes a buffer that it does not have")
        target = self._named[self._buffers[buffer]]
        self._graph.call_function(operator_named("torch.ops.aten.copy_.default"), (target, self._named[name]))

    def finish(self) -> fx.GraphModule:
        """The module."""
        self._graph.lint()
        module = fx.GraphModule(self._root, self._graph, "ExportedProgram")
        for each in module.modules():
            each.training = False
        return module


def _spec(name: str, meta: Mapping[str, Any]) -> InputSpec:
    """An input with every size as it was at the export: a free one at the size of the example, but for the samples."""
    sizes: list[int | None] = []
    for axis, size in enumerate(_entries(meta, "sizes")):
        hint = child(child(size, "as_expr"), "hint").get("as_int") if axis else None
        known = entry(size, "as_int", hint)
        sizes.append(known if type(known) is int and 0 < known < 2**31 else None)
    dtype = meta.get("dtype")
    return InputSpec(name, _DTYPES.get(dtype, "float32") if isinstance(dtype, int) else "float32", tuple(sizes))


def _module_stack(text: Any) -> dict[str, tuple[str, str]]:
    """`key,path,class;...`, as torch.export has it in memory."""
    stack = {}
    for part in text[:20_000].split(";") if isinstance(text, str) else ():
        key, _, rest = part.partition(",")
        path, _, kind = rest.rpartition(",")
        if key.startswith("L_"):
            stack[key] = (path, kind)
    return stack


def _entries(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _check_name(name: str, target: str) -> None:
    if not name or hasattr(nn.Module, name) or (name.startswith("__") and name.endswith("__")):
        raise MalformedError(f"'{shown(target)}' is no name that a tensor can have")
