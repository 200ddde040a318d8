"""Which files paths, folders and globs stand for."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path, PurePath

from normdiag.errors import InputError
from normdiag.models.sniff import INDEX, INDEXES, is_distributed

SUFFIXES = (".onnx", ".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".gguf", ".pth.tar", ".pt.tar")
# The weights of Hugging Face models have an ending that many other files have as well.
WEIGHTS = re.compile(r"\S*model(?:-\d+-of-\d+)?\.bin", re.IGNORECASE)
# Between the stem and the ending of a shard; the index of all shards has the name without it.
SHARD = re.compile(r"-\d+-of-\d+(?=\.\w+$)")
# How a zip archive and a pickle of protocol 2 or above begin, as torch.save writes them.
TORCH_STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


@dataclass(frozen=True)
class Found:
    """The model files that paths stand for, and of the other files in folders how many there are of each ending."""

    files: tuple[str, ...]
    skipped: Mapping[str, int]


def find_models(paths: Sequence[str | Path]) -> Found:
    """The files that the paths stand for, each once: files as given, folders and globs in order of their names.

    A folder stands for the files below it whose name ends as those of models do, hidden ones left out; shards count as
    the one model that their index stands for, and a folder of torch.distributed.checkpoint is one model. Links are
    followed, and a file or folder that is found by several ways keeps the first name. A folder that cannot be looked
    into stands for itself, so that `require_file` can say so.
    Raises InputError for a folder or glob without any.
    """
    found: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for path in map(str, paths):
        if not path:
            raise InputError("the path of a model is empty")
        matches = _matches(path) if has_magic(path) and not os.path.lexists(path) else [path]
        seen: set[str] = set()
        files = [file for match in matches for file in (_below(match, seen, skipped) if _is_folder(match) else [match])]
        if not files:
            raise InputError(f"{path}: there is no model file ({', '.join(SUFFIXES)})")
        for file in files:
            found.setdefault(os.path.realpath(file), _shown(file))
    return Found(tuple(found.values()), dict(skipped.most_common()))


def _is_folder(path: str) -> bool:
    """Whether it is one in the end: after some forty links the system no longer says so."""
    return _leads_on(Path(os.path.realpath(path)))


def _matches(pattern: str) -> list[str]:
    """What a glob finds, the shallowest first: a loop of links makes it find the same again ever deeper."""
    return sorted(glob(pattern, recursive=True), key=lambda path: (path.count(os.sep), path))  # noqa: PTH207


def require_file(path: str) -> None:
    """Raise InputError for a folder that is no checkpoint: `find_models` names one where it cannot look into it."""
    if Path(path).is_dir() and not is_checkpoint_folder(path):
        try:
            os.scandir(path).close()
            why = "is a folder"
        except OSError as error:
            why = f"the folder cannot be looked into ({error.strerror}), so what it holds is not checked"
        raise InputError(f"{path}: {why}")


def is_checkpoint_folder(path: str) -> bool:
    """Whether a folder is one model as it stands; one that may not be looked into is none."""
    try:
        return is_distributed(Path(path))
    except OSError:
        return False


def _below(top: str, seen: set[str], skipped: Counter[str]) -> Iterator[str]:
    """The model files of a folder, then those of its folders; `seen` are the real paths of the folders done so far.

    The other files are counted in `skipped`.
    """
    left = [top]
    while left:
        folder = left.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError:
            yield folder
            continue
        if is_checkpoint_folder(folder):
            yield folder
            continue
        paths = [Path(folder, name) for name in names if not name.startswith(".")]
        folders = {path for path in paths if _leads_on(path)}
        indexes = {path.name for path in paths if path.name in INDEXES}
        for path in paths:
            if path not in folders and (index := SHARD.sub("", path.name) + INDEX) in indexes and index != path.name:
                continue  # part of the model that the index stands for
            if path not in folders and _is_later_part(path):
                continue
            if path not in folders and (path.name in indexes or _is_model(path)):
                yield str(path)
            elif path not in folders:
                skipped[path.suffix.lower() or "no ending"] += 1
        left += [str(path) for path in reversed(paths) if path in folders]


def _is_later_part(path: Path) -> bool:
    """Whether it is a part of a split GGUF model that is read with its first part."""
    from normdiag.models.static.gguf_file import gguf_parts  # with which comes the reader of every other format

    first = gguf_parts(path)[0]
    return first != path and first.is_file()


def _leads_on(path: Path) -> bool:
    """Whether it is a folder; what may not be looked at, as in a folder without search permission, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_model(path: Path) -> bool:
    """Whether its name is that of a model, and for a name that says little its first bytes too."""
    if not WEIGHTS.fullmatch(path.name):
        return path.name.lower().endswith(SUFFIXES)
    try:
        if not path.is_file():  # a pipe would wait for a writer
            return False
        with path.open("rb") as file:
            return file.read(4).startswith(TORCH_STARTS)
    except OSError:
        return True  # that it cannot be read is said where it is checked


def _shown(path: str) -> str:
    """Relative to the current folder where it lies in it, with forward slashes."""
    relative = os.path.relpath(path)
    outside = relative == os.pardir or relative.startswith(os.pardir + os.sep)
    return PurePath(os.path.normpath(path) if outside else relative).as_posix()
