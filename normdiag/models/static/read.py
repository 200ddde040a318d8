"""From a path and its format to a StaticFile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.sniff import Format, sniff
from normdiag.models.static.choose import WeightsPlace, choose, find_candidates, tree_of
from normdiag.models.static.copies import NamedCopy, compare_copies, inner_copies
from normdiag.models.static.distributed import distributed_object, distributed_source
from normdiag.models.static.export import export_tree
from normdiag.models.static.hints import hints_of
from normdiag.models.static.inert import MalformedError, TensorRef, shown
from normdiag.models.static.modules import ModuleTree
from normdiag.models.static.names import Wrappers, find_wrappers, printable
from normdiag.models.static.pickled_numpy import tensor_of
from normdiag.models.static.safetensors_file import safetensors_metadata, safetensors_object
from normdiag.models.static.script import script_tree
from normdiag.models.static.source import ByteSource, open_source
from normdiag.models.static.staticfile import ArchitectureHints, ExportedProgramFile, ModuleFacts, StaticFile
from normdiag.models.static.steps import steps_told
from normdiag.models.static.suspicious import suspicious
from normdiag.models.static.tensors import read_tensor
from normdiag.models.static.torchfile import legacy_object, pickle_object, zip_object
from normdiag.models.static.zipped import open_archive
from normdiag.records import CopyComparison

Array = NDArray[Any]

# Strides of 0 and shared storages let a small file claim tensors without end: all tensors together may have this
# many elements, plus a number for each byte of the file.
_SPARE_ELEMENTS = 1 << 27
_ELEMENTS_PER_BYTE = 16
# A file could list models without end; copies of the one taken are looked for among the first of them.
_MAX_OTHERS = 32


def read_static(path: Path, fmt: Format, key: str | None = None) -> StaticFile:
    """Read the model in a PyTorch-family file of the format that `sniff` told.

    `key` chooses among the models of a checkpoint ("ema", "generator.state_dict"). Raises InputError for a file that
    is damaged, truncated, hostile or holds no model, and for a key that is not there.
    """
    source = distributed_source(path) if fmt == "torch-distributed" else open_source(path)
    try:
        return _model(source, fmt, key)
    except MalformedError as error:
        raise InputError(f"{path}: {error}") from None


def read_refs(path: Path, fmt: Format, key: str | None = None) -> tuple[ByteSource, dict[str, TensorRef]]:
    """The bytes of the file, and its unread tensors under the names that `read_static` gives them; raises likewise.

    A checkpoint in several files has no such bytes: InputError says how it becomes one file.
    """
    if fmt == "torch-distributed":
        raise InputError(
            f"{path}: nothing is written into a checkpoint of torch.distributed.checkpoint: make it one file with "
            f"`python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} whole.pt` (which unpickles it)"
        )
    source = open_source(path)
    try:
        tensors = _tree(source, fmt, key).tensors
    except MalformedError as error:
        raise InputError(f"{path}: {error}") from None
    wrappers = find_wrappers(list(tensors))
    return source, {printable(wrappers.strip(name)): tensor for name, tensor in tensors.items()}


def _tree(source: ByteSource, fmt: Format, key: str | None) -> ModuleTree:
    if fmt in _PROGRAMS:
        return _PROGRAMS[fmt](source)
    return tree_of(choose(_object(source, fmt), key, source.name)[0])


def _model(source: ByteSource, fmt: Format, key: str | None) -> StaticFile:
    if fmt in _PROGRAMS:
        if key is not None:
            raise InputError(f"{source.name}: --key chooses among the models of a checkpoint; a {fmt} file holds one")
        tree = _PROGRAMS[fmt](source)
        static = _static_file(source, tree, (), whole=True)
        if tree.program is None:
            return static
        return replace(static, exported=ExportedProgramFile(tree.program, _read_all(source, tree.constants)))
    found = _object(source, fmt)
    candidate, notes = choose(found, key, source.name)
    tree = tree_of(candidate)
    static = _static_file(source, tree, notes, candidate.is_module)
    pickled = candidate.value if candidate.is_module else None
    hints = _hints(source, fmt, found, candidate.value, find_wrappers(list(tree.tensors)))
    return replace(static, copies=_copies(found, candidate, tree), pickled=pickled, hints=hints)


def _hints(source: ByteSource, fmt: Format, found: Any, weights: Any, wrappers: Wrappers) -> ArchitectureHints:
    if fmt == "safetensors":
        return hints_of(safetensors_metadata(source), None)
    hints = hints_of(found, weights)
    return replace(hints, modules=frozenset(printable(wrappers.strip(path)) for path in hints.modules))


def _copies(found: Any, candidate: WeightsPlace, tree: ModuleTree) -> tuple[CopyComparison, ...]:
    """How the other copies of the model that was taken compare with it."""
    others = (each for each in find_candidates(found) if each.path != candidate.path)
    beside = [NamedCopy(each.path, tensors) for each in islice(others, _MAX_OTHERS) if (tensors := _tensors(each))]
    outer = compare_copies(NamedCopy(candidate.path, tree.tensors), beside)
    inner = tuple(each for one, two in inner_copies(tree.tensors) for each in compare_copies(one, [two]))
    steps = steps_told(found) if outer or inner else frozenset()
    return tuple(
        replace(each, in_training=each.tracked is not None and max(each.tracked) in steps) for each in (*outer, *inner)
    )


def _tensors(candidate: WeightsPlace) -> Mapping[str, TensorRef]:
    """None of a candidate that is damaged: it was not asked for."""
    try:
        return tree_of(candidate).tensors
    except MalformedError:
        return {}


def _object(source: ByteSource, fmt: Format) -> Any:
    return _OBJECTS[fmt](source)


def _no_weights(source: ByteSource) -> ModuleTree:
    raise InputError(
        f"{source.name}: is compiled by AOTInductor, whose weights cannot be read back: "
        "give the checkpoint or the torch.export program that it was compiled from"
    )


_OBJECTS: Mapping[str, Callable[[ByteSource], Any]] = {
    "torch-zip": lambda source: zip_object(open_archive(source)),
    "torch-legacy": legacy_object,
    "pickle": pickle_object,
    "safetensors": safetensors_object,
    "torch-distributed": distributed_object,
}
_PROGRAMS: Mapping[str, Callable[[ByteSource], ModuleTree]] = {
    "torchscript": script_tree,
    "torch-export": export_tree,
    "aotinductor": _no_weights,
}


def _static_file(source: ByteSource, tree: ModuleTree, notes: tuple[str, ...], whole: bool) -> StaticFile:
    wrappers = find_wrappers(list(tree.tensors))
    return StaticFile(
        tensors={printable(wrappers.strip(name)): array for name, array in _read_all(source, tree.tensors).items()},
        modules={printable(wrappers.strip(path)): _renamed(facts, wrappers) for path, facts in tree.modules.items()},
        notes=(*notes, *wrappers.notes, *_unread_notes(tree.unread)),
        whole_module=whole,
        suspicious=suspicious(source.imported),
    )


def _unread_notes(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(f"'{shown(name)}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return (f"left out {len(names)} tensors that are quantized, sparse or without data of their own: {listed}",)


def _renamed(facts: ModuleFacts, wrappers: Wrappers) -> ModuleFacts:
    if facts.parameters is None:
        return facts
    return replace(facts, parameters={role: printable(wrappers.strip(name)) for role, name in facts.parameters.items()})


def _read_all(source: ByteSource, tensors: Mapping[str, TensorRef]) -> dict[str, Array]:
    if sum(math.prod(tensor.shape) for tensor in tensors.values()) > _limit(source):
        raise MalformedError("its tensors claim more elements than a file of this size can mean: refused")
    return {name: _read(name, tensor) for name, tensor in tensors.items()}


def _limit(source: ByteSource) -> int:
    return _SPARE_ELEMENTS + _ELEMENTS_PER_BYTE * (len(source.data) + source.beside)


def _read(name: str, tensor: TensorRef) -> Array:
    try:
        return read_tensor(tensor)
    except MalformedError as error:
        raise MalformedError(f"tensor '{shown(name)}' {error}") from None


def read_tensors(path: Path) -> Mapping[str, Array]:
    """The tensors of a file by name; a sole tensor has the name "", those of a list their index.

    Raises InputError where the file is no tensor file.
    """
    fmt = sniff(path)
    if fmt not in _OBJECTS:
        raise InputError(f"{path}: is a model ({fmt}), not a file of tensors")
    source = open_source(path)
    try:
        found = _object(source, fmt)
        return _read_all(source, _all_tensors(found) or _chosen(found, source))
    except MalformedError as error:
        raise InputError(f"{path}: {error}") from None


def _all_tensors(found: Any) -> dict[str, TensorRef] | None:
    """A sole tensor, or the tensors of a list; None for anything else."""
    if (sole := tensor_of(found)) is not None:
        return {"": sole}
    if not isinstance(found, (list, tuple)):
        return None
    tensors = [tensor_of(each) for each in found]
    return {str(index): each for index, each in enumerate(tensors) if each is not None}


def _chosen(found: Any, source: ByteSource) -> dict[str, TensorRef]:
    candidate, _ = choose(found, None, source.name)
    if candidate.is_module:
        raise InputError(f"{source.name}: holds a module, not tensors")
    return tree_of(candidate).tensors
