"""A folder as the output of a fold: which models it is for, and where it may lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from normdiag.errors import InputError, UsageError
from normdiag.models.sniff import CHECKPOINTS, checkpoint_in


def is_checkpoint(model: Any) -> bool:
    """Whether it is the folder of a Hugging Face checkpoint, or its main file beside a config.json."""
    if not isinstance(model, str | Path):
        return False
    path = Path(model)
    if path.is_dir():
        return checkpoint_in(path) is not None
    return path.name in CHECKPOINTS and path.is_file() and (path.parent / "config.json").is_file()


def check_folder(target: Path, force: bool) -> None:
    """Before any work. Raises UsageError for what exists, InputError for a place where no folder can be made."""
    if target.exists():
        if not force:
            raise UsageError(f"-o {target} exists; --force replaces it")
        if checkpoint_in(target) is None:
            raise InputError(f"-o {target} is no Hugging Face checkpoint, and nothing else is replaced by one")
    place = target.resolve().parent
    if not place.is_dir():
        raise InputError(f"-o {target}: the folder {place} does not exist")
    if not os.access(place, os.W_OK):
        raise InputError(f"-o {target}: the folder {place} cannot be written to")


def check_apart(source: Path, target: Path) -> None:
    """Raise UsageError where the output is the input, lies in it, or holds it."""
    old, new = (source if source.is_dir() else source.parent).resolve(), target.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise UsageError(f"-o {target} lies in {source}, or holds it, and the original is never changed")
