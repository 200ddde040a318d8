"""What is said of a model file as a whole, whatever its format."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from normdiag.records import NormLayer

_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    return sha256_of_stream(path.open("rb", buffering=0))


def sha256_of_stream(stream: io.RawIOBase) -> str:
    """The same of an open file from where it stands, which is closed then."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with stream:
        while size := stream.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()


def without_statistics(parameters: int, layers: Iterable[NormLayer]) -> int:
    """Number of weights among so many stored values, which running statistics are not."""
    statistics = sum(2 * layer.running_var.size for layer in layers if layer.running_var is not None)
    return max(parameters - statistics, 0)  # what a graph computes, or layers share, was not counted for each
