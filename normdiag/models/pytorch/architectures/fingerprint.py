"""What tells an architecture from others: the names of its tensors, and their shapes but for classes and channels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

Shapes = Mapping[str, tuple[int, ...]]
# Files from before torch 0.4.1 do not hold these, so that they tell nothing.
_UNTOLD = "num_batches_tracked"


def names_hash(names: Iterable[str]) -> str:
    """Of the names of tensors, in whatever order."""
    return _hash(sorted(name for name in names if not name.endswith(_UNTOLD)))


def shapes_hash(shapes: Shapes, classes: Sequence[tuple[str, int]], channels: Sequence[tuple[str, int]]) -> str:
    """Of names and shapes, leaving out the axes that the number of classes or of input channels sets."""
    open_axes = {**dict.fromkeys(map(tuple, classes), "N"), **dict.fromkeys(map(tuple, channels), "C")}
    lines = (
        f"{name} {','.join(open_axes.get((name, axis), str(size)) for axis, size in enumerate(shape))}"
        for name, shape in shapes.items()
        if not name.endswith(_UNTOLD)
    )
    return _hash(sorted(lines))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
