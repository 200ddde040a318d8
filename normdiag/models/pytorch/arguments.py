"""The arguments of a node in a torch.export program's JSON: numbers, strings, dtypes and other nodes, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.inert import MalformedError, shown

_SCALAR_TYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS: Mapping[int, torch.memory_format] = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED = 7
_PLAIN: Mapping[str, type] = {"as_int": int, "as_float": float, "as_string": str, "as_bool": bool}
# What a tensor of more numbers would be is a mistake or an attack: 8 GB in float32.
MAX_NUMBERS = 1 << 31


def child(value: Any, name: str) -> dict[str, Any]:
    """The object under a name; an empty one where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def entry(value: Any, name: str, default: Any = None) -> Any:
    """What an object has under a name; the default for what is no object."""
    return value.get(name, default) if isinstance(value, dict) else default


def only(value: Any) -> tuple[str, Any]:
    """Kind and content of a tagged value: an object with one entry that is set."""
    held = (
        [(kind, content) for kind, content in value.items() if content is not None] if isinstance(value, dict) else []
    )
    if len(held) != 1:
        raise MalformedError("a value of the exported program has no kind, or several")
    return held[0]


class ArgumentReader:
    """Reads arguments; names of the file stand for the nodes in `named`, which grows as the graph does."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        """`named` is read at every call."""
        self._named = named
        self._readers: Mapping[str, Callable[[Any], Any]] = {
            "as_none": lambda _: None,
            "as_tensor": self._tensor,
            "as_tensors": self._all(self._tensor),
            "as_optional_tensor": self.value,
            "as_optional_tensors": self._all(self.value),
            "as_nested_tensors": self._all(self._all(self._tensor)),
            "as_ints": self._sizes(self._plain(int)),
            "as_floats": self._all(self._plain(float)),
            "as_bools": self._all(self._plain(bool)),
            "as_strings": self._all(self._plain(str)),
            "as_int_lists": self._all(self._all(self._plain(int))),
            "as_sym_int": self._symbol,
            "as_sym_float": self._symbol,
            "as_sym_bool": self._symbol,
            "as_sym_ints": self._sizes(self._symbol),
            "as_sym_floats": self._all(self._symbol),
            "as_scalar_type": lambda code: _listed(_SCALAR_TYPES, code),
            "as_memory_format": lambda code: _listed(_MEMORY_FORMATS, code),
            "as_layout": lambda code: _listed({_STRIDED: torch.strided}, code),
            "as_device": lambda _: torch.device("cpu"),
            **{kind: self._plain(wanted) for kind, wanted in _PLAIN.items()},
        }

    def value(self, argument: Any) -> Any:
        """One argument. Raises RefusedError for a kind that is not rebuilt: a graph, an object, an operator."""
        kind, content = only(argument)
        reader = self._readers.get(kind)
        if reader is None:
            raise RefusedError(f"the program hands over {shown(kind.removeprefix('as_'))}, which is not rebuilt")
        return reader(content)

    def call(self, function: Any, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, by position as long as they follow the operator's schema, then by name."""
        given = {}
        for each in inputs:
            name = entry(each, "name")
            if not isinstance(name, str) or name in given:
                raise MalformedError("an argument of the exported program has no name, or the name of another")
            given[name] = self.value(entry(each, "arg"))
        schema = getattr(function, "_schema", None)
        if schema is None:  # arithmetic on sizes
            return tuple(given.values()), {}
        wanted = {each.name: each.kwarg_only for each in schema.arguments}
        unknown = next((name for name in given if name not in wanted), None)
        if unknown is not None:
            raise MalformedError(f"{schema.name} takes no argument '{shown(unknown)}'")
        args: list[Any] = []
        for name, keyword in wanted.items():
            if keyword or name not in given:
                break
            args.append(given.pop(name))
        return tuple(args), given

    def _tensor(self, content: Any) -> Any:
        return self._node(content.get("name") if isinstance(content, dict) else None)

    def _symbol(self, content: Any) -> Any:
        kind, held = only(content)
        if kind == "as_name":
            return self._node(held)
        return self._plain(_PLAIN.get(kind, str))(held)

    def _node(self, name: Any) -> Any:
        if not isinstance(name, str) or name not in self._named:
            raise MalformedError(f"the exported program uses '{shown(name)}' before it is there")
        return self._named[name]

    def _plain(self, wanted: type) -> Callable[[Any], Any]:
        def read(content: Any) -> Any:
            if type(content) is int and wanted is float:
                return float(content)
            if type(content) is not wanted or (isinstance(content, int) and abs(content) >= 1 << 63):
                raise MalformedError(f"an argument of the exported program is no {wanted.__name__}")
            return content

        return read

    def _all(self, one: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(content: Any) -> list[Any]:
            if not isinstance(content, list):
                raise MalformedError("an argument of the exported program is no list")
            return [one(each) for each in content]

        return read

    def _sizes(self, one: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Lists of integers are shapes and the like: none may mean a tensor of impossible size."""
        every = self._all(one)

        def read(content: Any) -> list[Any]:
            found: list[Any] = every(content)
            product = 1
            for number in found:
                product *= abs(number) if isinstance(number, int) and number else 1
                if product > MAX_NUMBERS:
                    raise RefusedError(f"the program asks for a tensor of more than {MAX_NUMBERS} numbers")
            return found

        return read


def _listed(known: Mapping[int, Any], code: Any) -> Any:
    if type(code) is not int or code not in known:
        raise RefusedError(f"the program uses a dtype, layout or memory format that is not known here ({code!r:.20})")
    return known[code]
