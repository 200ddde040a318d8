"""A folded checkpoint as a folder: shards with new values, the config, and all else of the original as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from normdiag.errors import InputError
from normdiag.folding.pytorch.checkpoint.new_values import Pieces, joined
from normdiag.folding.pytorch.checkpoint.stored_model import StoredModel
from normdiag.models.sniff import INDEX, checkpoint_in, sniff
from normdiag.models.static.checkpoint_folder import CONFIG, CheckpointFiles, find_checkpoint
from normdiag.wording import abridged
from normdiag.writing.new_folder import new_folder
from normdiag.writing.weight_files import open_weights
from normdiag.writing.weight_files.safetensors_copy import AddedTensor, copy_safetensors

# Files that hold weights. Those of the checkpoint are written anew; others would be the weights before the fold.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx", ".onnx_data", ".pt2")


def write_checkpoint(
    model: StoredModel,
    changed: Mapping[str, Pieces],
    added: Mapping[str, Pieces],
    target: Path,
    check: Callable[[Path], None],
) -> tuple[str, ...]:
    """Write the folder, whole or not at all, and return notes for the user.

    `changed` and `added` are by the checkpoint's names of the tensors; those of `added` are no longer tied to what
    `model.added` says. `check` looks at the folder before it gets its name; what it raises leaves nothing of it.
    """
    source = model.path if model.path.is_dir() else model.path.parent
    files = find_checkpoint(model.path)
    try:
        with new_folder(target) as folder:
            left_out = _copy_the_rest(source, folder, files)
            for shard in files.shards:
                _write_shard(shard, folder / shard.name, files, changed, _added_to(shard, files, model, added))
            if files.where:
                _write_index(model, files, folder, added)
            if added:
                config = json.dumps(dict(model.config), indent=2, ensure_ascii=False) + "\n"
                (folder / CONFIG).write_text(config, encoding="utf-8")
            check(folder)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    notes = [f"load it as the original: from_pretrained({str(target)!r})"]
    if left_out:
        notes.append(f"left out, as they hold the weights before the fold: {abridged(left_out)}")
    return tuple(notes)


def _copy_the_rest(source: Path, folder: Path, files: CheckpointFiles) -> list[str]:
    """Copy all but weights, what links lead to included; returns what was left out."""
    left_out = []
    ours = {each.name for each in files.shards}
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        index = path.name.removesuffix(INDEX) if path.name.endswith(INDEX) else path.name
        if index.lower().endswith(_WEIGHTS):
            main = len(inside.parts) == 1 and (path.name in ours or path == checkpoint_in(source))
            left_out += [] if main else [str(inside)]
            continue
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / inside)
    return left_out


def _added_to(
    shard: Path, files: CheckpointFiles, model: StoredModel, added: Mapping[str, Pieces]
) -> dict[str, AddedTensor]:
    """The new tensors that this shard gets: it holds what they were tied to."""
    mine = {name: model.added[name] for name in added if files.where.get(model.added[name], shard) == shard}
    return {name: AddedTensor(like, added[name]) for name, like in mine.items()}


def _write_shard(
    shard: Path,
    target: Path,
    files: CheckpointFiles,
    changed: Mapping[str, Pieces],
    added: Mapping[str, AddedTensor],
) -> None:
    mine = {name: pieces for name, pieces in changed.items() if files.where.get(name, shard) == shard}
    if sniff(shard) == "safetensors":
        copy_safetensors(shard, target, mine, added)
        return
    if added:
        raise InputError(f"{shard}: needs another tensor, {next(iter(added))!r}: convert it to safetensors first")
    from normdiag.models.static import read_static

    held = read_static(shard, sniff(shard)).tensors
    open_weights(shard).write(
        {name: joined(pieces, held[name].shape, held[name].dtype) for name, pieces in mine.items()}, target
    )


def _write_index(model: StoredModel, files: CheckpointFiles, folder: Path, added: Mapping[str, Pieces]) -> None:
    main = checkpoint_in(model.path) if model.path.is_dir() else model.path
    assert main is not None
    if not added:
        shutil.copyfile(main, folder / main.name)
        return
    index: dict[str, Any] = json.loads(main.read_text(encoding="utf-8"))
    for name in added:
        index["weight_map"][name] = files.where[model.added[name]].name
    with suppress(KeyError, TypeError):
        index["metadata"]["total_size"] += sum(model.tensors[model.added[name]].nbytes for name in added)
        index["metadata"]["total_parameters"] += sum(model.tensors[model.added[name]].size for name in added)
    (folder / main.name).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
