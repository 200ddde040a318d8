"""What the source text in a TorchScript archive says of each class: constants, and the normalization that it calls.

torch writes one statement a line, so regular expressions and a bracket count suffice; the text is never compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from normdiag.models.static.staticfile import ModuleFacts
from normdiag.records import NormKind

_KINDS: Mapping[str, NormKind] = {
    "batch_norm": "batch_norm",
    "instance_norm": "instance_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "rms_norm": "rms_norm",
}
_OPERATOR = "|".join(_KINDS)
_CLASS = re.compile(r"class (\w+)\(")
_FINAL = re.compile(r"  (\w+) : Final\[.*?\] = (.+)")
_ATTRIBUTE = re.compile(r"    +(\w+) = (?:\w+\.(\w+)|getattr\(\w+, \"([^\"]+)\"\))")
_ALIAS = re.compile(rf"    +(\w+) = __torch__\.torch\.nn\.functional\.({_OPERATOR})")
_CALL = re.compile(rf"(?:torch\.({_OPERATOR})|\b(_\d+))\(")
_CONSTANT = re.compile(r"CONSTANTS\.c\d+")
_MAX_LINE = 100_000
_CALLS_PER_LINE = 8
_CALLS_PER_CLASS = 1_000

# Positions of arguments, the same in torch.* and in torch.nn.functional.* but for the order of the tensors.
_TENSORS = {"batch_norm": 1, "instance_norm": 1, "layer_norm": 2, "group_norm": 2, "rms_norm": 2}
_EPS = {"batch_norm": 7, "instance_norm": 7, "layer_norm": 4, "group_norm": 4, "rms_norm": 3}
# Arguments at their schema's default are left out of traced code.
_DEFAULT_EPS = {"layer_norm": "1e-05", "group_norm": "1e-05"}


@dataclass(frozen=True)
class ScriptNormCall:
    """One call of a normalization: its operator, and the attributes or constants that it takes, by role."""

    facts: ModuleFacts
    tensors: Mapping[str, str]


@dataclass
class ClassText:
    """What was read of one class."""

    constants: dict[str, str] = field(default_factory=dict)
    calls: list[ScriptNormCall] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


def read_classes(text: str) -> dict[str, ClassText]:
    """Every class in one file of an archive's `code/` folder, by name."""
    classes: dict[str, ClassText] = {}
    current: ClassText | None = None
    for line in text.splitlines():
        if not line.startswith(" "):
            found = _CLASS.match(line)
            current = classes.setdefault(found[1], ClassText()) if found else None
        elif current is not None and len(line) <= _MAX_LINE:
            _read_line(current, line)
    return classes


def _read_line(current: ClassText, line: str) -> None:
    if found := _FINAL.match(line):
        current.constants[found[1]] = found[2]
    elif found := _ALIAS.match(line):
        current.aliases[found[1]] = found[2]
    elif (found := _ATTRIBUTE.fullmatch(line)) and found[2] != "forward":
        current.attributes[found[1]] = found[2] or found[3]
    else:
        # Both branches of an `if` may hold the same call.
        found_calls = _calls(current, line) if len(current.calls) < _CALLS_PER_CLASS else ()
        current.calls.extend(call for call in found_calls if call not in current.calls)


def _calls(current: ClassText, line: str) -> Iterator[ScriptNormCall]:
    for found in islice(_CALL.finditer(line), _CALLS_PER_LINE):
        operator = found[1] or current.aliases.get(found[2])
        if operator:
            yield _call(current, operator, split_arguments(line, found.end()), bool(found[1]))


def _call(current: ClassText, operator: str, arguments: list[str], direct: bool) -> ScriptNormCall:
    def argument(index: int) -> str:
        return arguments[index] if index < len(arguments) else ""

    eps = argument(_EPS[operator]) or _DEFAULT_EPS.get(operator, "")
    batch = operator == "batch_norm"
    facts = ModuleFacts(
        kind=_KINDS[operator],
        eps=as_number(eps),
        momentum=as_number(argument(6)) if batch or operator == "instance_norm" else None,
        training=as_flag(argument(5)) if batch else None,
        groups=as_count(argument(1)) if operator == "group_norm" else None,
        normalized_shape=as_sizes(argument(1)) if operator in ("layer_norm", "rms_norm") else None,
    )
    roles = ("weight", "bias", "running_mean", "running_var")
    if not direct and _TENSORS[operator] == 1:  # torch.nn.functional puts the statistics first
        roles = ("running_mean", "running_var", "weight", "bias")
    taken = roles if _TENSORS[operator] == 1 else roles[: 1 if operator == "rms_norm" else 2]
    names = {role: _tensor_name(current, argument(_TENSORS[operator] + at)) for at, role in enumerate(taken)}
    return ScriptNormCall(facts, {role: name for role, name in names.items() if name})


def _tensor_name(current: ClassText, argument: str) -> str | None:
    return argument if _CONSTANT.fullmatch(argument) else current.attributes.get(argument)


def split_arguments(line: str, start: int) -> list[str]:
    """The arguments of the call whose opening bracket ends at `start`, split at the commas of its own level."""
    depth, begin, found = 0, start, []
    for at in range(start, len(line)):
        character = line[at]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if depth < 0 or (character == "," and depth == 0):
            found.append(line[begin:at].strip())
            begin = at + 1
        if depth < 0:
            break
    return found


def as_number(text: str) -> float | None:
    """A number of the source text; None for anything else."""
    try:
        return float(text[:64])
    except ValueError:
        return None


def as_flag(text: str) -> bool | None:
    """True or False of the source text; None for anything else."""
    return {"True": True, "False": False}.get(text)


def as_sizes(text: str) -> tuple[int, ...] | None:
    """A list or tuple of sizes of the source text; None for anything else."""
    if not re.fullmatch(r"[\[(](\d{1,15},? ?){1,8}[\])]", text):
        return None
    return tuple(int(each) for each in re.findall(r"\d+", text))


def as_count(text: str) -> int | None:
    """A count of the source text; None for anything else."""
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def constant_facts(text: ClassText) -> ModuleFacts:
    """The facts in a class's `Final` constants, which scripted (not traced) modules of torch.nn have."""
    get = text.constants.get
    return ModuleFacts(
        eps=as_number(get("eps", "")),
        momentum=as_number(get("momentum", "")),
        channels=as_count(get("num_features", get("num_channels", ""))),
        groups=as_count(get("num_groups", "")),
        normalized_shape=as_sizes(get("normalized_shape", "")),
        affine=as_flag(get("affine", get("elementwise_affine", ""))),
    )
