"""Hugging Face checkpoints: a folder, or the index of one, whose weights lie in one file or in shards, as one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from normdiag.errors import InputError
from normdiag.models.sniff import INDEX, checkpoint_in, sniff
from normdiag.models.static.inert import MalformedError, shown
from normdiag.models.static.json_text import parse_json
from normdiag.models.static.names import find_wrappers, printable
from normdiag.models.static.read import read_static
from normdiag.models.static.safetensors_file import safetensors_object
from normdiag.models.static.source import open_source
from normdiag.models.static.staticfile import StaticFile

CONFIG = "config.json"
_MAX_SHARDS = 10_000
_MAX_INDEX = 64 << 20
_LISTED = 3


@dataclass(frozen=True)
class CheckpointFiles:
    """Which files a checkpoint consists of: its shards in order, and which of them holds each tensor.

    `where` is empty where there is no index, and all of the one file is meant. `config` is config.json, None without.
    """

    shards: tuple[Path, ...]
    where: Mapping[str, Path]
    config: Path | None


def find_checkpoint(path: Path) -> CheckpointFiles:
    """The files of the checkpoint in a folder, or of the index file at `path`.

    Raises InputError where there is no index and no weights, and where shards are missing or lie elsewhere.
    """
    main = checkpoint_in(path) if path.is_dir() else path
    if main is None:
        raise InputError(f"{path}: is a folder, not a model file")
    config = main.parent / CONFIG
    known = config if config.is_file() else None
    if not main.name.endswith(INDEX):
        return CheckpointFiles((main,), {}, known)
    where = _weight_map(main)
    shards = tuple(dict.fromkeys(where.values()))
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        listed = ", ".join(missing[:_LISTED]) + (", ..." if len(missing) > _LISTED else "")
        raise InputError(f"{main}: {len(missing)} of its {len(shards)} shards are missing: {listed}")
    return CheckpointFiles(shards, where, known)


@dataclass(frozen=True)
class StoredTensor:
    """The safetensors file that a tensor is in, and its name there."""

    path: Path
    name: str


def tensor_places(path: Path) -> dict[str, StoredTensor]:
    """Where each tensor of a checkpoint or a safetensors file is, by the name under which it is read.

    Raises InputError where a file is of another format.
    """
    places: dict[str, StoredTensor] = {}
    for shard in find_checkpoint(path).shards:
        if sniff(shard) != "safetensors":
            raise InputError(f"{shard} is no safetensors file, and only from those are weights streamed")
        try:
            names = list(safetensors_object(open_source(shard)))
        except MalformedError as error:
            raise InputError(f"{shard}: {error}") from None
        wrappers = find_wrappers(names)
        places |= {printable(wrappers.strip(name)): StoredTensor(shard, name) for name in names}
    return places


def read_checkpoint(path: Path) -> StaticFile:
    """The tensors of all shards as one model; they are mapped, and read where they are used.

    Raises InputError for a shard that is missing, damaged, or lacks a tensor that the index places in it.
    """
    files = find_checkpoint(path)
    read = {shard: read_static(shard, sniff(shard)) for shard in files.shards}
    notes = tuple(dict.fromkeys(note for each in read.values() for note in each.notes))
    if not files.where:
        (only,) = read.values()
        return replace(only, config=_config(files.config))
    tensors = {}
    for name, shard in files.where.items():
        held = read[shard].tensors
        if name not in held:
            raise InputError(f"{shard}: lacks the tensor '{shown(name)}' that the index places there")
        tensors[name] = held[name]
    notes = (f"read from {len(files.shards)} shards", *notes)
    return StaticFile(tensors, notes=notes, config=_config(files.config))


def _weight_map(index: Path) -> Mapping[str, Path]:
    found = _json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise InputError(f"{index}: has no weight_map that places tensors in files")
    where = {}
    for name, file in found.items():
        # A shard lies beside its index: a name with a folder in it could lead anywhere.
        if not isinstance(file, str) or not file or Path(file).name != file or "\\" in file or "\0" in file:
            raise InputError(
                f"{index}: places the tensor '{shown(name)}' in '{shown(file)}', which is no file beside it"
            )
        where[name] = index.parent / file
    if len(set(where.values())) > _MAX_SHARDS:
        raise InputError(f"{index}: lists more than {_MAX_SHARDS} shards")
    return where


def _config(path: Path | None) -> Mapping[str, Any] | None:
    return None if path is None else _json(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise InputError(f"{path}: is larger than any index or configuration")
        return parse_json(path.read_bytes(), path.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except MalformedError as error:
        raise InputError(f"{path}: {error}") from None
