"""Whether the weights of a model are read as a whole, or block by block while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normdiag.models.free_memory import free_memory

if TYPE_CHECKING:
    from normdiag.models.options import LoadOptions
    from normdiag.models.static import StaticFile

# Modules are built in float32. What else a forward needs, of a model that nearly fills the memory, is left a tenth.
_BYTES = 4
_SHARE = 0.9


def why_streamed(static: StaticFile, options: LoadOptions) -> str | None:
    """Why the weights of a file shall be streamed, as a clause; None where they are read as a whole."""
    if options.stream == "always":
        return "as asked with --stream always"
    free = free_memory() if options.stream == "auto" else None
    needed = _BYTES * sum(int(each.size) for each in static.tensors.values() if each.dtype.kind not in "iub")
    if free is None or needed <= _SHARE * free:
        return None
    return f"they take {_gigabytes(needed)} of memory as float32, and {_gigabytes(free)} are free"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
