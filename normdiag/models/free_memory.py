"""How much memory this process can still take."""

from __future__ import annotations

import sys
from pathlib import Path

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes: what is free, or less where limits of the control group or of the process leave less. None if unknown.

    What only caches files counts as free: the system gives it back.
    """
    found = (_free(), _left_in_group(), _left_of_addresses())
    return min((each for each in found if each is not None), default=None)


def _free() -> int | None:
    for line in _text(_PROC / "meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    try:
        import psutil  # where there is no /proc, accelerate has brought it
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _left_in_group() -> int | None:
    """Of this process's control group, version 2 or 1, as containers set it."""
    left = [_left(folder, "memory.max", "memory.current", "file ") for folder in _own_folders(_GROUPS, "")]
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache ")
    left += [_left(folder, *old) for folder in _own_folders(_GROUPS / "memory", "memory")]
    return min((each for each in left if each is not None), default=None)


def _own_folders(top: Path, controller: str) -> set[Path]:
    """The folder of the group that the process is in, and the top, where a container sees its own group."""
    lines = (line.split(":", 2) for line in _text(_PROC / "self/cgroup").splitlines())
    own = (line[2].lstrip("/") for line in lines if len(line) == 3 and controller in line[1].split(","))
    return {top, top / next(own, "")}


def _left(folder: Path, limit: str, used: str, cache: str) -> int | None:
    allowed, taken = _text(folder / limit).strip(), _text(folder / used).strip()
    if not allowed.isdigit() or not taken.isdigit():
        return None
    cached = (line for line in _text(folder / "memory.stat").splitlines() if line.startswith(cache))
    return max(int(allowed) - int(taken) + sum(int(line.split()[1]) for line in cached), 0)


def _left_of_addresses() -> int | None:
    """Under `ulimit -v`."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    pages = _text(_PROC / "self/statm").split()
    return max(limit - (int(pages[0]) * resource.getpagesize() if pages else 0), 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
