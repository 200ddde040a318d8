"""Files that appear whole or not at all: written under a temporary name in the same folder, synced, then renamed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from normdiag.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Tells our files from those that others hide beside the target.
SUFFIX = ".normdiag-tmp"


def check_place(target: Path, option: str) -> None:
    """Raise InputError where no file of this name can be written: it is a folder, or its folder does not allow it.

    A link is followed: what counts is the folder of the file that it stands for.
    """
    if target.is_dir():
        raise InputError(f"{option} {target} is a folder; give a file")
    if _stream_of(target) is not None:
        return
    try:
        place = target.resolve() if target.is_symlink() else target
    except RuntimeError:
        raise InputError(f"{option} {target}: this link leads back to itself") from None
    if not place.parent.is_dir():
        leads = f" is a link to {place}" if place != target else ""
        raise InputError(f"{option} {target}{leads}: the folder {place.parent} does not exist")
    if not _is_special(place) and not os.access(place.parent, os.W_OK):
        raise InputError(f"{option} {target}: the folder {place.parent} cannot be written to")


@contextmanager
def replacing(target: Path, last: Callable[[], object] = lambda: None) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `target` when the block ends well; else nothing has changed.

    At any moment, also when the process is killed, `target` is the old file or the whole new one. A link is followed;
    a pipe, a device or one of this process's own streams is written to as it is; an existing file keeps its
    permissions. An OSError of the writing names the target. `last` is called when all is on the disk under another
    name; what it raises leaves the old file.
    """
    number = _stream_of(target)
    with _naming(target):
        if number is not None or _is_special(target):
            with target.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as stream:
                yield stream
            last()
        else:
            with _renamed(target.resolve(), last) as stream:
                yield stream


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """An OSError inside that names no file, as for a full disk, or the temporary one, names the target instead."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename).endswith(SUFFIX)):
            error.filename, error.filename2 = str(target), None
        raise


@contextmanager
def _renamed(target: Path, last: Callable[[], object]) -> Iterator[IO[bytes]]:
    """A temporary file to write to, which is renamed when the block ends well."""
    with temporary(target) as path:
        with path.open("wb") as stream:
            yield stream
            sync(stream)
        path.chmod(target.stat().st_mode & 0o7777 if target.exists() else usual_mode(0o666))
        last()
        try:
            path.replace(target)
            sync_folder(target.parent)
        except KeyboardInterrupt:
            if path.exists():
                raise
            # It came too late: the file is written.


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()


def _stream_of(target: Path) -> int | None:
    """The number of an open stream that a name stands for: 1 for /dev/stdout, whatever file or pipe is after it."""
    name = os.path.normpath(target)
    if name in ("/dev/stdout", "/dev/stderr"):
        return 1 if name == "/dev/stdout" else 2
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d{1,6})", name, re.ASCII)
    return int(found[1]) if found else None


@contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """An empty file beside `target`, for this user only; gone when the block ends, unless it was renamed.

    It is locked until then. Those of earlier calls that nobody locks go: their processes were killed.
    """
    _remove_left(target)
    path, lock = _create(target)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def publish(path: Path, names: Iterable[Path]) -> Path:
    """Give a finished file the first of `names` that is free, and return it; no existing file is ever replaced."""
    for name in names:
        with suppress(FileExistsError):
            name.open("xb").close()  # the name is ours from here on, also among several processes
            path.chmod(usual_mode(0o666))
            path.replace(name)
            sync_folder(name.parent)
            return name
    raise FileExistsError(f"no free name for {path}")


def sync(stream: IO[bytes]) -> None:
    """Wait until what was written is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _create(target: Path) -> tuple[Path, int | None]:
    """A new file, and the handle that locks it while it is open; None where the system has no such locks."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=SUFFIX, dir=target.parent)
        path = Path(name)
        if fcntl is None:
            os.close(handle)
            return path, None
        with suppress(OSError):  # some file systems have none, and there nothing is removed either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)  # another process was quicker, and removed it


def _remove_left(target: Path) -> None:
    """Remove the temporary files of `target` that no process has locked, where the system can tell."""
    if fcntl is None:
        return
    with suppress(OSError):
        for path in list(target.parent.iterdir()):
            if path.name.startswith(_prefix(target)) and path.name.endswith(SUFFIX):
                with suppress(OSError), path.open("r+b") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."


def usual_mode(wanted: int) -> int:
    """The permissions that a new file or folder gets of those wanted."""
    mask = os.umask(0)
    os.umask(mask)
    return wanted & ~mask
