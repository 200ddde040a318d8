"""What a `--data` argument means: random data, Python code, files by glob, or a path; perhaps for a named input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from normdiag.errors import InputError, UsageError

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE_CODE = re.compile(rf"{_NAME}:{_NAME}")
_FILE_CODE = re.compile(rf".+\.py:{_NAME}", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """One `--data` argument: `text` as typed, `target` without the input's name, and that `name` if there is one."""

    text: str
    target: str
    kind: Literal["random", "code", "glob", "path"]
    name: str | None = None


def as_specs(data: Sequence[str] | str) -> tuple[str, ...]:
    """What callers in Python hand over as `data`: one specification alone counts too. Raises UsageError for arrays."""
    listed = (data,) if isinstance(data, str) else tuple(data)
    other = next((each for each in listed if not isinstance(each, str)), None)
    if other is not None:
        kind = type(other).__name__
        raise UsageError(f"data holds a {kind}, where it names files: give arrays, tensors and loaders as batches")
    return listed


def parse_spec(text: str, names: Sequence[str] = ()) -> Spec:
    """Read `[NAME=]TARGET`, where `names` are the inputs that the model declares, if it does.

    TARGET is, in this order: the word `random`; anything that exists on disk; `pkg.module:callable` or
    `file.py:callable`; a glob (`*`, `?`, `[`); a path. Raises InputError where nothing can be meant.
    """
    name, target = _split_name(text, names)
    if not target:
        raise InputError(f"--data {text!r} names no data: give a file, a folder, file.py:callable or random")
    return Spec(text, target, _kind(target), name)


def _split_name(text: str, names: Sequence[str]) -> tuple[str | None, str]:
    left, equals, right = text.partition("=")
    if not equals or exists(text):
        return None, text
    if left in names:
        return left, right
    # Input names of ONNX may hold anything, and so may paths: an unknown left side is a name only if it looks like one.
    if not re.fullmatch(_NAME, left):
        return None, text
    if names:
        raise InputError(f"--data {text}: the model has no input {left!r}; its inputs are {', '.join(names)}")
    return left, right


def _kind(target: str) -> Literal["random", "code", "glob", "path"]:
    if target == "random":
        return "random"
    if exists(target):
        return "path"
    if _MODULE_CODE.fullmatch(target) or _FILE_CODE.fullmatch(target):
        return "code"
    return "glob" if re.search(r"[*?\[]", target) else "path"


def exists(text: str) -> bool:
    """Whether this names something on disk; False where it cannot be a path at all."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # name too long, embedded NUL
        return False
