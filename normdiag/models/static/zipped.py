"""Zip archives as torch writes them, read with suspicion: stored members are mapped, deflated ones bounded."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from normdiag.errors import InputError
from normdiag.models.sniff import strip_top_folder, why_no_zip
from normdiag.models.static.inert import Bytes, shown
from normdiag.models.static.source import ByteSource

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_UTF8 = 0x800
# Deflated members may unpack, all together, to this many bytes, or to as many times the archive's size.
_INFLATE_BYTES = 256 << 20
_INFLATE_RATIO = 50


@dataclass(frozen=True, eq=False)
class Archive:
    """An opened archive: members by name, without the top folder. CRCs are checked on first reading."""

    source: ByteSource
    members: Mapping[str, zipfile.ZipInfo]
    _cache: dict[str, Bytes] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def array(self, name: str) -> Bytes:
        """The bytes of a member; a view of the mapped file where it is stored.

        Raises InputError where the member is missing, encrypted, damaged or not as long as declared.
        """
        if name not in self._cache:
            self._cache[name] = self._read(name)
        return self._cache[name]

    def copy(self, name: str) -> bytes:
        """A copy of a member's bytes."""
        return self.array(name).tobytes()

    def _read(self, name: str) -> Bytes:
        info = self.members.get(name)
        if info is None:
            raise self._error(name, "is missing: the file is incomplete")
        if info.flag_bits & _ENCRYPTED:
            raise self._error(name, "is encrypted")
        start = self._data_start(name, info)
        if info.compress_type == zipfile.ZIP_STORED:
            if info.compress_size != info.file_size:
                raise self._error(name, "is stored, yet its two sizes differ")
            data, crc = self.source.array(start, info.file_size), self.source.crc32(start, info.file_size)
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            inflated = self._inflate(name, info, start)
            data, crc = np.frombuffer(inflated, np.uint8), zlib.crc32(inflated)
        else:
            raise self._error(name, f"is compressed by method {info.compress_type}, which torch does not use")
        if crc != info.CRC:
            raise self._error(name, "does not match its checksum: the file is damaged")
        return data

    def _data_start(self, name: str, info: zipfile.ZipInfo) -> int:
        data, offset = self.source.data, info.header_offset
        if not 0 <= offset <= len(data) - _LOCAL_HEADER.size:
            raise self._error(name, "lies outside of the file")
        signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(data, offset)
        names = offset + _LOCAL_HEADER.size
        start = names + name_length + extra_length
        encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
        local = bytes(data[names : names + name_length]).decode(encoding, "replace")
        if signature != b"PK\x03\x04" or local != info.orig_filename:
            raise self._error(name, "is not where the zip directory says: the file is damaged")
        if start + info.compress_size > len(data):
            raise self._error(name, "passes the end of the file: the file is truncated")
        return int(start)

    def _inflate(self, name: str, info: zipfile.ZipInfo, start: int) -> bytes:
        packed = self.source.data[start : start + info.compress_size]
        try:
            # One byte more than declared tells a member that is longer.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, info.file_size + 1)
        except zlib.error:
            raise self._error(name, "cannot be decompressed: the file is damaged") from None
        if len(data) != info.file_size:
            raise self._error(name, "does not have the size that it declares")
        return data

    def _error(self, name: str, what: str) -> InputError:
        return InputError(f"{self.source.name}: zip member '{shown(name)}' {what}")


def open_archive(source: ByteSource) -> Archive:
    """Read the central directory. Raises InputError for what no archive of torch's has.

    That is a directory that is missing or damaged, names that occur twice, members that overlap (a zip bomb), and
    deflated members that would unpack beyond all proportion.
    """
    try:
        with zipfile.ZipFile(source.path or io.BytesIO(source.data)) as archive:
            infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    # A damaged central directory makes zipfile raise almost anything.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, IndexError, OverflowError) as error:
        raise InputError(f"{source.name}: {why_no_zip(error)}") from None
    names = strip_top_folder([info.filename for info in infos])
    members = dict(zip(names, infos, strict=True))
    if len(members) < len(infos):
        raise InputError(f"{source.name}: the zip archive holds several members of one name")
    _refuse_bombs(source, infos)
    return Archive(source, members)


def _refuse_bombs(source: ByteSource, infos: list[zipfile.ZipInfo]) -> None:
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise InputError(f"{source.name}: members of the zip archive overlap: refused as a zip bomb")
        end = info.header_offset + _LOCAL_HEADER.size + len(info.orig_filename) + info.compress_size
    inflated = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
    if inflated > _INFLATE_BYTES + _INFLATE_RATIO * len(source.data):
        raise InputError(f"{source.name}: the zip archive would unpack to {inflated} bytes: refused as a zip bomb")
