"""The checksums of a zip archive after bytes of its stored members were replaced.

Each member's CRC-32 stands in the directory at the end, and before or after its bytes:
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7 to 4.3.12.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence

from normdiag.errors import InputError
from normdiag.writing.weight_files.byte_edits import ByteEdit, edited

_LOCAL = struct.Struct("<4s2xH6xI8xHH")  # signature, flags, CRC, lengths of name and extra
_ENTRY = struct.Struct("<4s12xI8xHHH")  # signature, CRC, lengths of name, extra and comment
_LOCAL_CRC, _ENTRY_CRC = 14, 16
_LOCAL_SIZE, _ENTRY_SIZE = 30, 46
_DESCRIPTOR = b"PK\x07\x08"
_BEHIND = 0x8  # flag: the CRC stands after the bytes


def checksum_edits(name: str, path: str, data: memoryview, edits: Sequence[ByteEdit]) -> list[ByteEdit]:
    """What must change in the archive beside `edits`. Raises InputError where it is not laid out as zip files are."""
    with zipfile.ZipFile(path) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    found: list[ByteEdit] = []
    for info, entry in zip(infos, _entries(data, directory, len(infos)), strict=True):
        start = _data_start(data, info)
        end = start + info.compress_size
        if not any(start <= each.start < end for each in edits):
            continue
        crc = 0
        for piece in edited(data, edits, start, end):
            crc = zlib.crc32(piece, crc)
        places = (entry + _ENTRY_CRC, _near(data, info, end))
        if any(_number(data, place) != info.CRC for place in places):
            raise InputError(f"{name}: the zip member '{info.filename}' has no checksum where it should stand")
        found += [ByteEdit(place, crc.to_bytes(4, "little")) for place in places]
    return found


def _entries(data: memoryview, start: int, count: int) -> Iterator[int]:
    """Where each entry of the directory begins."""
    for _ in range(count):
        yield start
        _, _, *lengths = _ENTRY.unpack_from(data, start)
        start += _ENTRY_SIZE + sum(lengths)


def _data_start(data: memoryview, info: zipfile.ZipInfo) -> int:
    *_, name, extra = _LOCAL.unpack_from(data, info.header_offset)
    return int(info.header_offset + _LOCAL_SIZE + name + extra)


def _near(data: memoryview, info: zipfile.ZipInfo, end: int) -> int:
    """Where the CRC beside the bytes stands: in the local header, or in the descriptor after them."""
    if not info.flag_bits & _BEHIND:
        return info.header_offset + _LOCAL_CRC
    return end + (len(_DESCRIPTOR) if data[end : end + 4] == _DESCRIPTOR else 0)


def _number(data: memoryview, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "little")
