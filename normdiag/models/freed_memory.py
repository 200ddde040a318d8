"""What becomes of freed memory: at hand while a model runs, or back to the system."""

from __future__ import annotations

import ctypes
import sys
import weakref

# mallopt(3): blocks above the first size are mapped from the kernel one by one, and above the second the heap's end is
# given back. glibc raises both by itself to what is restored here, once blocks of that size have been freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_USUAL = 32 << 20
_LARGE = 1 << 30
_SMALL = 1 << 20


def keep_memory(owner: object) -> None:
    """For the life of `owner`, with glibc, tensors of up to 1 GB come from memory that was freed just before.

    Otherwise every activation above 32 MB is mapped anew and paid for page by page when it is first written: on a CPU
    that costs more than the normalization that writes it. At the end, what is free goes back to the system.
    """
    libc = _glibc()
    if libc is not None:
        _set_thresholds(libc, _LARGE)
        weakref.finalize(owner, _give_back, libc)


def return_memory() -> None:
    """From now on, with glibc, tensors of more than 1 MB are mapped one by one, and given back once they are freed.

    Weights that come and go would else leave a heap with holes: of 8 GB in blocks of 0.2 GB it grew to 1.5 GB. Called
    before a module is built, since what that frees would be filled again.
    """
    libc = _glibc()
    if libc is not None:
        _set_thresholds(libc, _SMALL)
        libc.malloc_trim(0)


def as_usual_after(owner: object) -> None:
    """Once `owner` is gone, memory is freed as it usually is."""
    libc = _glibc()
    if libc is not None:
        weakref.finalize(owner, _give_back, libc)


def give_back_freed() -> None:
    """With glibc, what is free goes back to the system, which the allocator does not do by itself from its middle."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _give_back(libc: ctypes.CDLL) -> None:
    _set_thresholds(libc, _USUAL)
    libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None


def _set_thresholds(libc: ctypes.CDLL, size: int) -> None:
    libc.mallopt(_M_MMAP_THRESHOLD, size)
    libc.mallopt(_M_TRIM_THRESHOLD, min(2 * size, (1 << 31) - 1))
