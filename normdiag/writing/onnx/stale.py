"""Data files that a model file used before it was replaced."""

from __future__ import annotations

import mmap
import re
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from normdiag.errors import InputError
from normdiag.models.onnx.file import tensors_of
from normdiag.models.onnx.parse import parse_model
from normdiag.writing.onnx.data_files import entries
from normdiag.writing.onnx.original import Original


def data_files(path: Path) -> set[Path]:
    """The files with external data that the ONNX file at `path` names; none where there is no such file."""
    if not path.is_file():
        return set()
    with suppress(InputError):
        proto = parse_model(path)
        locations = {
            entries(tensor).get("location", "")
            for tensor in tensors_of(proto)
            if tensor.data_location == tensor.EXTERNAL
        }
        return {path.parent / location for location in locations if (path.parent / location).is_file()}
    return set()


def clear(stale: Set[Path], source: Original, target: Path) -> tuple[str, ...]:
    """Remove those that belong to the target alone, and name the others, one note for all.

    Its own are called as we call them, '<target>.data' or '<target>.1.data', and no other model in the folder names
    them.
    """
    own = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    used = {path.resolve() for path in data_files(source.path)} if source.path.exists() else set()
    left = []
    for path in sorted(stale):
        exclusive = path.parent == target.parent and own.fullmatch(path.name) and path.resolve() not in used
        if exclusive and not path.is_symlink() and not _named_elsewhere(path, target):
            path.unlink(missing_ok=True)
        elif path.resolve() not in used:
            left.append(path.name)
    if not left:
        return ()
    names = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return (f"{target.name} does not use {names} any more; remove that if nothing else needs it",)


def _named_elsewhere(path: Path, target: Path) -> bool:
    return any(_mentions(other, path.name) for other in path.parent.glob("*.onnx") if other.name != target.name)


def _mentions(model: Path, name: str) -> bool:
    """Whether a file has this name in it, or cannot be read."""
    try:
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(name.encode()) >= 0
    except ValueError:  # empty
        return False
    except OSError:
        return True
