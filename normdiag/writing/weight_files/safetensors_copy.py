"""A safetensors file with the values of some tensors replaced and others added, written from file to file.

Nothing is held but the piece at work: what stays is copied, what changes comes in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.writing.atomic import sync

Pieces = Callable[[], Iterable[NDArray[Any]]]
_BLOCK = 1 << 22
_METADATA = "__metadata__"


@dataclass(frozen=True)
class AddedTensor:
    """One more tensor, of the dtype and shape of the tensor `like` of the same file."""

    like: str
    pieces: Pieces


def copy_safetensors(
    source: Path, target: Path, changed: Mapping[str, Pieces], added: Mapping[str, AddedTensor]
) -> None:
    """Write the new file. The pieces of a tensor are its values in order, in the dtype that is stored.

    Without added tensors the header is the same, byte for byte. The source was read before: its header is sound.
    """
    with source.open("rb") as old, target.open("wb") as new:
        length = int.from_bytes(old.read(8), "little")
        head = old.read(length)
        entries: dict[str, Any] = json.loads(head)
        written = _header(entries, added) if added else head
        new.write(len(written).to_bytes(8, "little") + written)
        for name, entry in sorted(_tensors(entries), key=lambda each: each[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            if name in changed:
                _write(new, name, changed[name](), end - begin)
            else:
                old.seek(8 + length + begin)
                _copy(old, new, end - begin)
        for name, each in added.items():
            _write(new, name, each.pieces(), _size(entries[each.like]))
        sync(new)


def _tensors(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, entry) for name, entry in entries.items() if name != _METADATA]


def _size(entry: Mapping[str, Any]) -> int:
    return int(entry["data_offsets"][1] - entry["data_offsets"][0])


def _header(entries: Mapping[str, Any], added: Mapping[str, AddedTensor]) -> bytes:
    """The old entries and one for each new tensor, whose bytes come after all others; padded as the format wants it."""
    end = max((entry["data_offsets"][1] for _, entry in _tensors(entries)), default=0)
    more = {}
    for name, each in added.items():
        like = entries[each.like]
        more[name] = {**like, "data_offsets": [end, end + _size(like)]}
        end += _size(like)
    text = json.dumps({**entries, **more}, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _copy(old: IO[bytes], new: IO[bytes], length: int) -> None:
    while length > 0 and (block := old.read(min(_BLOCK, length))):
        new.write(block)
        length -= len(block)


def _write(new: IO[bytes], name: str, pieces: Iterable[NDArray[Any]], length: int) -> None:
    written = 0
    for piece in pieces:
        written += new.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    if written != length:
        raise InputError(f"'{name}': {written} bytes of new values for a tensor of {length}")
