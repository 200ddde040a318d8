"""torch.export archives (.pt2): weights from their folder, and the facts of each module from the graph's JSON."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from normdiag.errors import InputError
from normdiag.models.static.dtypes import EXPORT_DTYPES
from normdiag.models.static.inert import MalformedError, Storage, TensorRef, shown
from normdiag.models.static.json_text import parse_json
from normdiag.models.static.modules import ModuleTree
from normdiag.models.static.pickled_numpy import tensor_of
from normdiag.models.static.rebuild import tensor_view
from normdiag.models.static.source import ByteSource
from normdiag.models.static.staticfile import ModuleFacts, merged
from normdiag.models.static.torchfile import zip_object
from normdiag.models.static.zipped import Archive, open_archive
from normdiag.records import NormKind

_OLD_PROGRAM = "serialized_exported_program.json"
_OLD_WEIGHTS = "serialized_state_dict.pt"
_OLD_CONSTANTS = "serialized_constants.pt"


def export_tree(source: ByteSource) -> ModuleTree:
    """The weights of a torch.export program and its modules, in the order in which they run.

    Reads the archives of torch 2.8 and later, and older ones. Raises InputError or MalformedError for damaged ones.
    """
    archive = open_archive(source)
    if _OLD_PROGRAM in archive:
        program = parse_json(archive.copy(_OLD_PROGRAM), "the exported program")
        tensors = _nested_tensors(archive, _OLD_WEIGHTS)
        constants = _nested_tensors(archive, _OLD_CONSTANTS) if _OLD_CONSTANTS in archive else {}
    else:
        name = _model_name(archive)
        program = parse_json(archive.copy(f"models/{name}.json"), "the exported program")
        tensors = dict(_listed_tensors(archive, "weights", name))
        constants = dict(_listed_tensors(archive, "constants", name))
    return ModuleTree(tensors, module_facts(program, tensors), program=program, constants=constants)


def _model_name(archive: Archive) -> str:
    names = [name[len("models/") : -len(".json")] for name in archive if re.fullmatch(r"models/[^/]+\.json", name)]
    if len(names) != 1:
        raise InputError(f"{archive.source.name}: holds {len(names)} exported programs, of which one was expected")
    return names[0]


def _listed_tensors(archive: Archive, kind: str, model: str) -> Iterator[tuple[str, TensorRef]]:
    """The weights or constants of a program, by the names that it uses."""
    listing = f"data/{kind}/{model}_{kind}_config.json"
    if kind == "constants" and listing not in archive:
        return
    config = parse_json(archive.copy(listing), f"the list of {kind}").get("config")
    if not isinstance(config, dict):
        raise MalformedError(f"the list of {kind} is not a JSON object of {kind}")
    for name, entry in config.items():
        file = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(file, str):
            raise MalformedError(f"{kind}: '{shown(name)}' names no file")
        if entry.get("use_pickle"):
            yield from ((name, tensor) for tensor in _nested_tensors(archive, f"data/{kind}/{file}").values())
        elif isinstance(entry.get("tensor_meta"), dict):  # else an object of a custom class
            yield name, _raw_tensor(archive, f"data/{kind}/{file}", name, entry.get("tensor_meta"))


def _raw_tensor(archive: Archive, member: str, name: str, meta: Any) -> TensorRef:
    fields: dict[str, Any] = meta if isinstance(meta, dict) else {}
    code = fields.get("dtype")
    dtype = EXPORT_DTYPES.get(code) if isinstance(code, int) else None
    if dtype is None:
        raise MalformedError(f"weight '{shown(name)}' has no dtype that is known")
    storage = Storage(member, dtype, 0, partial(archive.array, member), sys.byteorder != "little")
    sizes, strides = (_integers(fields.get(each)) for each in ("sizes", "strides"))
    return tensor_view(storage, dtype, _integer(fields.get("storage_offset")), sizes, strides)


def _integers(values: Any) -> list[Any] | None:
    return [_integer(each) for each in values] if isinstance(values, list) else None


def _integer(value: Any) -> Any:
    return value.get("as_int") if isinstance(value, dict) else None


def _nested_tensors(archive: Archive, member: str) -> dict[str, TensorRef]:
    """The tensors of a torch.save file inside the archive: one, or a dict of them."""
    data = archive.copy(member)
    if not data:
        return {}
    inner = ByteSource(f"{archive.source.name}: {shown(member)}", memoryview(data))
    found = zip_object(open_archive(inner))
    named = found.items() if isinstance(found, dict) else [("", found)]
    tensors = ((name, tensor_of(each)) for name, each in named if isinstance(name, str))
    return {name: tensor for name, tensor in tensors if tensor is not None}


# The operators by name: kind, and the name of the argument that holds the group count where there is one.
_OPERATORS: Mapping[str, NormKind] = {
    "batch_norm": "batch_norm",
    "native_batch_norm": "batch_norm",
    "_native_batch_norm_legit": "batch_norm",
    "_native_batch_norm_legit_functional": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "instance_norm": "instance_norm",
    "layer_norm": "layer_norm",
    "native_layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "native_group_norm": "group_norm",
    "rms_norm": "rms_norm",
    "_fused_rms_norm": "rms_norm",
}
_ROLES = ("weight", "bias", "running_mean", "running_var")
# Left out of the graph where they are at their schema's default.
_DEFAULT_EPS = {"layer_norm": 1e-5, "group_norm": 1e-5}


def module_facts(program: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, ModuleFacts]:
    """The facts of every module that the graph of an exported program runs, by path, from its nodes."""
    graph_module = _child(program, "graph_module")
    inputs = dict(_input_names(_child(graph_module, "signature").get("input_specs")))
    found: dict[str, ModuleFacts] = {}
    nodes = _child(graph_module, "graph").get("nodes")
    for node in nodes if isinstance(nodes, list) else ():
        if not isinstance(node, dict):
            continue
        stack = _module_stack(_child(node, "metadata").get("nn_module_stack"))
        for path, class_name in stack.items():
            found.setdefault(path, ModuleFacts(class_name=class_name))
        _add_node(found, node, next(reversed(stack), ""), inputs, tensors)
    return found


def _add_node(
    found: dict[str, ModuleFacts],
    node: dict[str, Any],
    path: str,
    inputs: Mapping[str, str],
    tensors: Mapping[str, Any],
) -> None:
    target = node.get("target")
    parts = target.split(".") if isinstance(target, str) else []
    operator = parts[3] if parts[:3] == ["torch", "ops", "aten"] and len(parts) > 3 else ""
    arguments = _arguments(node.get("inputs"))
    known = found.get(path, ModuleFacts())
    if operator == "add" and (known.class_name or "").endswith("RMSNorm"):  # decomposed: rsqrt(mean(x^2) + eps)
        found[path] = replace(known, eps=known.eps or _value(arguments.get("other"), "as_float", float))
    if operator not in _OPERATORS:
        return
    facts = _norm_facts(operator, arguments)
    names = {role: inputs.get(_tensor(arguments.get(role))) for role in _ROLES}
    if "InstanceNorm" in (known.class_name or ""):  # decomposed into a BatchNorm over one sample
        facts = replace(facts, training=None)
    parameters = {role: name for role, name in names.items() if name is not None and name in tensors}
    place = path if found.get(path, ModuleFacts()).kind is None else f"{path}.{shown(node.get('name'))}"
    found[place] = replace(merged(facts, found.get(place, ModuleFacts())), parameters=parameters)


def _norm_facts(operator: str, arguments: Mapping[str, Any]) -> ModuleFacts:
    kind = _OPERATORS[operator]
    shape = _value(arguments.get("normalized_shape"), "as_ints", list)
    training = _value(arguments.get("training"), "as_bool", bool)
    return ModuleFacts(
        kind=kind,
        eps=_value(arguments.get("eps"), "as_float", float) or _DEFAULT_EPS.get(operator),
        momentum=_value(arguments.get("momentum"), "as_float", float),
        training=False if operator.endswith("no_training") else training,
        groups=_value(arguments.get("num_groups", arguments.get("group")), "as_int", int),
        normalized_shape=tuple(shape) if shape and all(type(n) is int and 0 <= n < 2**48 for n in shape) else None,
    )


def _input_names(specs: Any) -> Iterator[tuple[str, str]]:
    """Names of graph inputs and the parameters or buffers that they stand for."""
    for spec in specs if isinstance(specs, list) else ():
        for kind in ("parameter", "buffer"):
            entry = _child(spec, kind)
            argument, name = _child(entry, "arg").get("name"), entry.get(f"{kind}_name")
            if isinstance(argument, str) and isinstance(name, str):
                yield argument, name


def _module_stack(text: Any) -> dict[str, str]:
    """Paths and class names of the modules that a node runs in, outermost first: `key,path,class;...`."""
    stack: dict[str, str] = {}
    for entry in text[:20_000].split(";") if isinstance(text, str) else ():
        parts = entry.rsplit(",", 2)
        if len(parts) == 3:
            # A module that is called again gets a suffix @1.
            stack[re.sub(r"@\d{1,9}$", "", parts[1])] = parts[2]
    return stack


def _arguments(inputs: Any) -> dict[str, Any]:
    named = [each for each in inputs if isinstance(each, dict)] if isinstance(inputs, list) else []
    return {each["name"]: each.get("arg") for each in named if isinstance(each.get("name"), str)}


def _tensor(argument: Any) -> str:
    name = _child(argument, "as_tensor").get("name")
    return name if isinstance(name, str) else ""


def _value(argument: Any, kind: str, wanted: type) -> Any:
    found = argument.get(kind) if isinstance(argument, dict) else None
    return found if type(found) is wanted else None


def _child(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
