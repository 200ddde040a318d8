"""Folders that appear whole or not at all: filled under a temporary name in the same place, then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normdiag.writing.atomic import SUFFIX, sync_folder, usual_mode


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, which takes its name when the block ends well; else it is gone.

    A folder that is there is moved aside first and removed last. An OSError is the caller's.
    """
    place = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}.", suffix=SUFFIX, dir=target.parent))
    try:
        yield place
        place.chmod(usual_mode(0o777))
        _exchange(place, target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _exchange(place: Path, target: Path) -> None:
    if not target.exists():
        place.rename(target)
        sync_folder(target.parent)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}.old.", suffix=SUFFIX, dir=target.parent))
    try:
        target.rename(aside / target.name)
        try:
            place.rename(target)
        except OSError:
            (aside / target.name).rename(target)
            raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
