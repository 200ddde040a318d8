"""The structure in which a torch.export program returns its outputs: tuples, lists and dicts, told from its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from normdiag.models.static.inert import MalformedError

_MAX_DEPTH = 20
_DICTS = ("builtins.dict", "collections.OrderedDict")


def structured(text: Any, leaves: Sequence[Any]) -> Any:
    """The leaves in the structure of a serialized torch.utils._pytree spec.

    Types of libraries become dicts of their fields where the spec tells these, else tuples: nothing is imported.
    Raises MalformedError where the spec does not fit the leaves.
    """
    rest = iter(leaves)
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        raise MalformedError("the structure of the program's outputs is not proper JSON") from None
    spec = found[1] if isinstance(found, list) and len(found) == 2 else None
    made = _node(spec, rest, 0) if isinstance(spec, dict) else tuple(leaves)
    if isinstance(spec, dict) and next(rest, rest) is not rest:
        raise MalformedError("the program has more outputs than the structure of its outputs")
    return made


def _node(spec: Any, rest: Iterator[Any], depth: int) -> Any:
    if not isinstance(spec, dict) or depth > _MAX_DEPTH:
        raise MalformedError("the structure of the program's outputs is damaged")
    kind, children = spec.get("type"), spec.get("children_spec")
    if kind is None:
        try:
            return next(rest)
        except StopIteration:
            raise MalformedError("the program has fewer outputs than the structure of its outputs") from None
    if not isinstance(children, list):
        raise MalformedError("the structure of the program's outputs is damaged")
    made = [_node(each, rest, depth + 1) for each in children]
    names = _names(spec.get("context"), len(made))
    if kind == "builtins.list":
        return made
    if names is not None and (kind in _DICTS or kind not in ("builtins.tuple",)):
        return dict(zip(names, made, strict=True))
    return tuple(made)


def _names(context: Any, count: int) -> list[str] | None:
    """The keys of a dict, or the fields of an output class."""
    try:
        found = json.loads(context) if isinstance(context, str) else None
    except (ValueError, RecursionError):
        return None
    found = found[0] if isinstance(found, list) and len(found) == 2 and isinstance(found[0], list) else found
    names = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
    return names if len(names) == len(set(names)) == count else None
