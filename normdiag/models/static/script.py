"""TorchScript archives: weights under module paths, and the facts that data.pkl and the code hold of each module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from normdiag.models.static.inert import MalformedError, Record, TensorRef
from normdiag.models.static.modules import ModuleTree, is_script, join, walk_module
from normdiag.models.static.pickled_numpy import tensor_of
from normdiag.models.static.script_code import ClassText, ScriptNormCall, constant_facts, read_classes
from normdiag.models.static.source import ByteSource
from normdiag.models.static.staticfile import ModuleFacts, merged, torch_kind
from normdiag.models.static.torchfile import zip_object
from normdiag.models.static.zipped import Archive, open_archive

_CODE = "code/"
_CONSTANTS = "CONSTANTS."


def script_tree(source: ByteSource) -> ModuleTree:
    """The modules of a TorchScript archive. Raises InputError or MalformedError where it is damaged.

    Where a class calls several normalizations itself, each gets an entry of its own below the module, by operator.
    The weights of a frozen module are its constants: they are taken, as CONSTANTS.c0 and so on, where a norm uses one.
    """
    archive = open_archive(source)
    if "data.pkl" not in archive:
        raise MalformedError("a TorchScript archive without data.pkl: the file is incomplete")
    root = zip_object(archive)
    if not (isinstance(root, Record) and is_script(root)):
        raise MalformedError("a TorchScript archive that holds no module")
    classes = _read_code(archive)
    tree = walk_module(root)
    if any(name.startswith(_CONSTANTS) for text in classes.values() for call in text.calls for name in _names(call)):
        tree.tensors.update(_constants(archive))
    modules: dict[str, ModuleFacts] = {}
    for path, facts in tree.modules.items():
        modules.update(_facts(path, facts, classes.get(tree.classes[path]), tree.tensors))
    return ModuleTree(tree.tensors, modules)


def _read_code(archive: Archive) -> dict[str, ClassText]:
    classes: dict[str, ClassText] = {}
    for member in archive:
        if member.startswith(_CODE) and member.endswith(".py"):
            module = member[len(_CODE) : -len(".py")].replace("/", ".")
            found = read_classes(archive.copy(member).decode("utf-8", "replace"))
            classes.update({f"{module}.{name}": text for name, text in found.items()})
    return classes


def _names(call: ScriptNormCall) -> Collection[str]:
    return call.tensors.values()


def _constants(archive: Archive) -> dict[str, TensorRef]:
    if "constants.pkl" not in archive:
        return {}
    found = zip_object(archive, "constants.pkl", "constants")
    named = {f"{_CONSTANTS}c{at}": tensor_of(each) for at, each in enumerate(found if isinstance(found, tuple) else ())}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _facts(path: str, facts: ModuleFacts, text: ClassText | None, tensors: Mapping[str, Any]) -> dict[str, ModuleFacts]:
    if text is None:
        return {path: facts}
    facts = merged(constant_facts(text), facts)
    if len(text.calls) == 1 or (text.calls and torch_kind(facts.class_name)):
        return {path: _with_call(path, facts, text.calls[0], tensors)}
    several = {
        join(path, f"{call.facts.kind}_{at}"): _with_call(path, ModuleFacts(training=facts.training), call, tensors)
        for at, call in enumerate(text.calls)
    }
    return {path: facts, **several}


def _with_call(path: str, facts: ModuleFacts, call: ScriptNormCall, tensors: Mapping[str, Any]) -> ModuleFacts:
    names = {role: name if name.startswith(_CONSTANTS) else join(path, name) for role, name in call.tensors.items()}
    parameters = {role: name for role, name in names.items() if name in tensors}
    return replace(merged(call.facts, facts), parameters=parameters)
