"""Where results may be written: never over what is read, and no two into one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.errors import UsageError
from normdiag.writing.atomic import check_place

if TYPE_CHECKING:
    from normdiag.config import Config


def sources(models: Sequence[str], arch: str | None, config: Config, *others: Path | None) -> list[str]:
    """Everything that a command reads: models, code, the configuration with the data that it names, and others."""
    settings = (config.data, *config.models.values())
    named = [spec for each in settings for spec in (*(each.data or ()), *filter(None, [each.reference]))]
    return [*models, *filter(None, [arch, config.source]), *named, *(str(each) for each in others if each is not None)]


def check_targets(targets: Iterable[tuple[str, Path]], read: Sequence[str]) -> None:
    """Refuse, before any work, files that cannot be written, that are read, or that two results would share.

    `targets` are options with their files. Raises UsageError for two of one name and as `check_target` does.
    """
    seen: set[Path] = set()
    for option, target in targets:
        check_target(target, read, option)
        if target.resolve() in seen:
            raise UsageError(f"{option} {target}: something else is written there too; choose another name")
        seen.add(target.resolve())


def check_target(target: Path, read: Iterable[str], option: str = "-o") -> None:
    """Refuse, before any work, a file that cannot be written or that is among what is read.

    Raises UsageError if `target` is one of `read`, matches one as a glob or is an image in one that is a folder;
    InputError if it is a folder, or if its folder does not exist or cannot be written to.
    """
    check_place(target, option)
    if target.exists() and any(_reads(source, target) for source in read):
        raise UsageError(f"{option} {target} would overwrite what is read; choose another name")


def _reads(source: str, target: Path) -> bool:
    """Whether a model path, `[NAME=]PATH`, `file.py:callable` or glob takes in the target."""
    parts = {source, source.partition("=")[2], source.rpartition(":")[0], source.partition("=")[2].rpartition(":")[0]}
    for part in filter(None, parts):
        for path in map(Path, [part] if os.path.lexists(part) else glob(part, recursive=True)):  # noqa: PTH207
            with suppress(OSError):
                if path.samefile(target) or (path.is_dir() and _is_image_in(path, target)):
                    return True
    return False


def _is_image_in(folder: Path, target: Path) -> bool:
    from normdiag.data.images import is_image

    return is_image(target) and folder.resolve() in target.resolve().parents
