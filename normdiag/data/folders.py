"""What a folder holds: images, or else recordings, with those of its subfolders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from normdiag.data.audio import is_audio
from normdiag.data.images import is_image
from normdiag.errors import InputError


def list_files(folder: Path) -> list[Path]:
    """All images in a folder and its subfolders or, without any, all recordings, in natural order.

    2.png comes before 10.png; hidden files are left out. Raises InputError where there is neither.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    for kind in (is_image, is_audio):
        if chosen := [path for path in found if kind(path)]:
            return natural(chosen)
    raise InputError(
        f"the folder {folder} holds no images ({len(found)} other files): png, jpg, bmp, gif, tiff, webp, ppm; nor "
        "recordings: wav, flac"
    )


def natural(paths: Iterable[Path]) -> list[Path]:
    """Sorted with numbers by value."""

    def key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.split(r"([0-9]+)", path.as_posix().lower())
        return [(1, int(p), "") if p.isdigit() else (2, 0, p) for p in parts if p], path.as_posix()

    return sorted(paths, key=key)
