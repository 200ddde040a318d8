"""Which architectures a file's weights fit: by the names of its tensors, then by their shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from normdiag.models.pytorch.architectures.build import arguments_of
from normdiag.models.pytorch.architectures.fingerprint import Shapes, names_hash, shapes_hash

INDEX = Path(__file__).with_name("index.json")
# What wrappers put before all names; they nest a few deep at most.
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
_MAX_NESTING = 4


@dataclass(frozen=True)
class Match:
    """Architectures that weights fit: in `functions`, names of one function each, the plainest first.

    `prefix` stands before all names in the file. `classes` and `channels` are what the weights are for, None where
    no tensor tells; `tensors` is how many fitted.
    """

    functions: tuple[tuple[str, ...], ...]
    prefix: str
    classes: int | None
    channels: int | None
    tensors: int


def match_weights(shapes: Shapes) -> Match | None:
    """The architectures of torchvision and timm whose tensors have exactly these names and shapes; None without any.

    Left open are the number of classes and of input channels, and one of the usual prefixes of all names.
    """
    known: Mapping[str, Any] = _index()["names"]
    for prefix in _prefixes(shapes):
        named = {name[len(prefix) :]: shape for name, shape in shapes.items()}
        fitting = [each for each in known.get(names_hash(named), ()) if _functions(named, each)]
        if fitting:
            functions = tuple(each for variant in fitting for each in _functions(named, variant))
            classes, channels = _size(named, fitting[0]["classes"]), _size(named, fitting[0]["channels"])
            return Match(functions, prefix, classes, channels, len(shapes))
    return None


def arguments_for(match: Match, name: str) -> dict[str, Any]:
    """What the factory of an architecture is called with, for these weights."""
    return arguments_of(name, match.classes, match.channels)


def _functions(shapes: Shapes, variant: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Those of a variant that have these shapes, and can be built for so many classes and channels."""
    classes, channels = _size(shapes, variant["classes"]), _size(shapes, variant["channels"])
    if classes == 0 or channels == 0:
        return ()
    return _able(variant["shapes"].get(shapes_hash(shapes, variant["classes"], variant["channels"]), ()), channels)


def _able(functions: Sequence[Sequence[str]], channels: int | None) -> tuple[tuple[str, ...], ...]:
    """Those that can be built for so many channels: torchvision's take three."""
    kept = (tuple(name for name in names if channels in (None, 3) or name.startswith("timm:")) for names in functions)
    return tuple(names for names in kept if names)


def _prefixes(shapes: Shapes) -> Iterator[str]:
    prefix = ""
    yield prefix
    for _ in range(_MAX_NESTING):
        longer = next((each for each in PREFIXES if all(name.startswith(prefix + each) for name in shapes)), None)
        if longer is None:
            return
        prefix += longer
        yield prefix


def _size(shapes: Shapes, axes: Sequence[Sequence[Any]]) -> int | None:
    """The size that all of these axes have; None without any, 0 where they differ."""
    sizes = {shapes[name][axis] for name, axis in axes}
    return None if not sizes else sizes.pop() if len(sizes) == 1 else 0


@cache
def _index() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(INDEX.read_text())
    return found
