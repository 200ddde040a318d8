"""Keeping freed memory at hand while a model runs."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3): blocks above the first size are mapped from the kernel one by one, and above the second the heap's end is
# given back. glibc raises both by itself to what is restored here, once blocks of that size have been freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_USUAL = 32 << 20
_LARGE = 1 << 30


@contextmanager
def memory_kept() -> Iterator[None]:
    """Inside, with glibc, tensors of up to 1 GB come from the heap, and so from memory that was freed just before.

    Otherwise every activation above 32 MB is mapped anew and paid for page by page when it is first written: on a CPU
    that costs more than the normalization that writes it. At the end, what is free goes back to the system.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set_thresholds(libc, _LARGE)
    try:
        yield
    finally:
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
