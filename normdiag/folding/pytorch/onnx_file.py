"""ONNX files from folded programs, by torch's own exporter and without its fusions."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript.version_converter import convert_version
from torch import Tensor, fx
from torch.export import ExportedProgram

from normdiag.errors import InputError
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch.editor import ProgramEditor, argument_of
from normdiag.folding.pytorch.onnxscript_private import constant_folding
from normdiag.folding.pytorch.running import output_names, user_inputs
from normdiag.models.pytorch.quiet import quiet
from normdiag.writing.atomic import replacing, sync

BATCH = "batch"
# protobuf cannot write a message of 2 GiB; some room is left for what is not weights.
LARGEST = 2**31 - 2**26
# The exporter writes none before; older ones are converted to, which takes constants that are known.
OLDEST = 18
# Constants of more elements are left for the runtime to compute.
FOLDED = 2**24
aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class OnnxExport:
    """A program as ONNX; `names` are the evaluator's names of its outputs by those in the model, in order."""

    model: ir.Model
    names: Mapping[str, str]


def export_onnx(program: ExportedProgram, options: ExportOptions) -> OnnxExport:
    """The program as ONNX, its tensors still those of torch.

    Constants are computed and dead code is removed, but nothing is fused: what was not folded stays as it is. Outputs
    that are no tensors, and writes to buffers, are left out. Raises InputError where the exporter cannot express the
    program or the opset.
    """
    bare, given = _bare(program)
    inputs, outputs = _names(bare, given, options)
    try:
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(
                bare,
                dynamo=True,
                verbose=False,
                optimize=False,
                opset_version=options.opset and max(options.opset, OLDEST),
                input_names=inputs,
                output_names=outputs,
            )
            model: ir.Model = exported.model  # type: ignore[union-attr]
            _clean(model)
            if options.opset is not None and options.opset < OLDEST:
                _convert(model, options.opset)
    except Exception as error:
        raise InputError(f"torch.onnx.export cannot write this model: {_summary(error)}; write .pt2 instead") from error
    written = model.opset_imports.get("")
    if options.opset is not None and written != options.opset:
        raise InputError(f"torch.onnx.export cannot write this model with opset {options.opset}, only with {written}")
    _name_symbols(model)
    return OnnxExport(model, dict(zip(outputs, given, strict=True)))


def save_onnx(
    model: ir.Model, target: Path, check: Callable[[Path], str | None], largest: int = LARGEST
) -> tuple[str, ...]:
    """Write the file once `check` has seen it; beyond `largest` bytes, with the weights in a file beside it.

    That file gets a name of its own, so that an older model of the same name never reads the new weights.
    """
    target, data = target.resolve(), None
    with ExitStack() as cleaning:
        with replacing(target) as stream:
            path = Path(stream.name)
            if sum(each.const_value.nbytes for each in model.graph.initializers.values() if each.const_value) > largest:
                data = target.with_name(f"{target.name}.{secrets.token_hex(4)}.data")
                cleaning.callback(data.unlink, missing_ok=True)
            ir.save(model, path, external_data=data and data.name)
            note = check(path)
            if data is not None:
                with data.open("rb") as weights:
                    sync(weights)
        cleaning.pop_all()
    beside = f"its weights are in {data.name}, which must stay beside it" if data else None
    return tuple(filter(None, (beside, note)))


def _bare(program: ExportedProgram) -> tuple[ExportedProgram, list[str]]:
    """The program as the exporter can take it, and the names of the outputs that are left.

    Constants among the outputs make the exporter fail; InstanceNorm with running statistics it writes as one that uses
    its input's own, so that is put as the BatchNorm that it is in eval mode.
    """
    editor = ProgramEditor(program)
    for node in list(editor.graph.nodes):
        if node.target is aten.instance_norm.default and not argument_of(node, "use_input_stats"):
            tensors = (argument_of(node, name) for name in ("input", "weight", "bias", "running_mean", "running_var"))
            momentum, eps = (argument_of(node, name) for name in ("momentum", "eps"))
            normed = editor.add(aten.batch_norm.default, (*tensors, False, momentum, eps, False), like=node)
            editor.replace(node, normed)
    values: Any = editor.graph.output_node().args[0]
    named = output_names(program)
    # What is an input, a stored tensor or an output already needs another value to bear the output's name.
    for index, value in enumerate(values):
        if _is_tensor(value) and (value.op == "placeholder" or value in values[:index]):
            values = (*values[:index], editor.add(aten.clone.default, (value,), like=value), *values[index + 1 :])
    editor.graph.output_node().args = (values,)
    kept = [index for index, value in enumerate(values) if named[index] is not None and _is_tensor(value)]
    editor.keep_outputs(kept)
    return editor.finish(), [named[index] or "" for index in kept]


def _names(program: ExportedProgram, outputs: Sequence[str], options: ExportOptions) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs: as asked for, else as the evaluator has them, told apart from inner values."""
    own = [spec.name for spec in user_inputs(program)]
    inputs = list(options.input_names) or own
    taken = {
        *inputs,
        *own,
        *(node.name for node in program.graph.nodes if node.op != "output"),
        *program.state_dict,
        *program.constants,
    }
    chosen = list(options.output_names) or [_free(name, taken) for name in outputs]
    for what, names, count in (("input", inputs, len(own)), ("output", chosen, len(outputs))):
        if len(names) != count or not all(names):
            raise InputError(f"the model has {count} {what}s, and {len(names)} {what} names were given")
    doubled = [name for name, count in Counter((*inputs, *chosen)).items() if count > 1]
    if doubled:
        raise InputError(f"{doubled[0]!r} is the name of two inputs or outputs")
    return inputs, chosen


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{name}_out"
    return name


def _clean(model: ir.Model) -> None:
    """Compute what is constant and drop what is unused: the exporter leaves sums of numbers for the file to do."""
    ir.passes.Sequential(
        common.InlinePass(),
        constant_folding(FOLDED),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.NameFixPass(),
    )(model)


def _convert(model: ir.Model, opset: int) -> None:
    """To an older opset, by onnx's converter where need be, which leaves an attribute that is new in opset 18."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        new = node.attributes.get("noop_with_empty_axes")
        if new is not None and new.value == 0:
            del node.attributes["noop_with_empty_axes"]
    convert_version(model, opset, fallback=True)


def _name_symbols(model: ir.Model) -> None:
    """'batch' for the first axis of the inputs, 'x_axis2' for another, in place of torch's s77."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if isinstance(size, ir.SymbolicDim) and str(size.value).isidentifier():
                first = BATCH if BATCH not in names.values() else f"{BATCH}_{value.name}"
                names.setdefault(str(size.value), f"{value.name}_axis{axis}" if axis else first)
    for value in _values(model):
        if value.shape is not None and any(isinstance(size, ir.SymbolicDim) for size in value.shape):
            value.shape = ir.Shape([_renamed(size, names) for size in value.shape])


def _renamed(size: Any, names: Mapping[str, str]) -> Any:
    if isinstance(size, int) or size.value is None:
        return size
    return re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), size.value)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _is_tensor(value: Any) -> bool:
    return isinstance(value, fx.Node) and isinstance(value.meta.get("val"), Tensor)


def _summary(error: BaseException) -> str:
    """The exporter's own summary of what went wrong, without its advice for developers."""
    text = str(error).partition("## Exception summary")[2] or str(error)
    plain = re.sub(r"\x1b\[[0-9;]*m|\(Refer to the full stack trace.*", "", text)
    return " ".join(plain.split())[:300]
