"""Which kind of model file a path holds, detected from content: nothing is unpickled or imported."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from normdiag.errors import InputError

Format = Literal[
    "torch-zip",
    "torch-legacy",
    "pickle",
    "torchscript",
    "torch-export",
    "aotinductor",
    "safetensors",
    "onnx",
    "hugging-face",
    "torch-distributed",
    "gguf",
]

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")

# A folder that Hugging Face libraries write is a model by one of these, the first that is there.
INDEX = ".index.json"
CHECKPOINTS = (
    f"model.safetensors{INDEX}",
    "model.safetensors",
    f"pytorch_model.bin{INDEX}",
    "pytorch_model.bin",
)
INDEXES = frozenset(name for name in CHECKPOINTS if name.endswith(INDEX))

HEAD_BYTES = 4096
# A profile is a safetensors file whose header, after its length of 8 bytes, begins with this key.
PROFILE_KEY = "normdiag.profile"
_PROFILE = b'{"__metadata__":{"' + PROFILE_KEY.encode() + b'"'
# A safetensors header longer than this is refused by the safetensors library too.
MAX_SAFETENSORS_HEADER = 100_000_000

# Leading bytes of files that people pass by mistake: what they are, and what to do.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a git-lfs pointer, not the model itself: run `git lfs pull`"),
    (b"\x93NUMPY", "is a NumPy array, not a model: give it with --data"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
    (b"\x89HDF", "is an HDF5 file (Keras?): convert it to ONNX first"),
    (b"\x89PNG", "is a PNG image, not a model: give it with --data"),
    (b"\xff\xd8\xff", "is a JPEG image, not a model: give it with --data"),
    (b"\x7fELF", "is a compiled library, not a model"),
)


def sniff(path: Path) -> Format:
    """The format of the model file at `path`.

    Raises InputError where the path is missing, a folder or empty, and for content that is no model file: git-lfs
    pointers, HTML, JSON, archives of something else, or a zip or ONNX file that is visibly truncated.
    """
    of_folder = _of_folder(path)
    if of_folder is not None:
        return of_folder
    head, size = _read_head(path)
    if head[8:].startswith(_PROFILE):
        raise InputError(f"{path}: is a profile, not a model: inspect shows it, --reference compares a model with it")
    if _is_safetensors(head):  # first: the length that it begins with may look like any other format
        return "safetensors"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return _sniff_zip(path)
    if LEGACY_MAGIC.startswith(head):
        raise InputError(f"{path}: only {size} bytes: the file is truncated")
    found = _by_first_bytes(head)
    if found is not None:
        return found
    if path.name.endswith(INDEX) and head.lstrip()[:1] == b"{":
        return "hugging-face"
    _refuse_strangers(path, head)
    if _is_onnx(path, size):
        return "onnx"
    raise InputError(
        f"{path}: not a model file that is known here (PyTorch, TorchScript, .pt2, safetensors, GGUF, ONNX)"
    )


def is_profile(path: Path) -> bool:
    """Whether a file begins as a profile does, which `normdiag profile` writes."""
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(8 + len(_PROFILE))[8:] == _PROFILE
    return False


def _by_first_bytes(head: bytes) -> Format | None:
    if head.startswith(b"GGUF"):
        return "gguf"
    if _is_legacy(head):
        return "torch-legacy"
    if head[0] == 0x80 and head[1] in (2, 3, 4, 5):
        return "pickle"
    return None


def checkpoint_in(folder: Path) -> Path | None:
    """The index or the file of weights that makes a folder a Hugging Face checkpoint; None for anything else."""
    return next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)


def _of_folder(path: Path) -> Format | None:
    """The format of a folder that is a checkpoint; None for anything else."""
    if checkpoint_in(path):
        return "hugging-face"
    if path.suffix == ".distcp" and is_distributed(path.parent):
        raise InputError(f"{path}: is a part of the checkpoint in {path.parent}: give that folder")
    return "torch-distributed" if is_distributed(path) else None


def is_distributed(folder: Path) -> bool:
    """Whether a folder is a checkpoint of torch.distributed.checkpoint."""
    return (folder / ".metadata").is_file() and any(folder.glob("*.distcp"))


def _read_head(path: Path) -> tuple[bytes, int]:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a folder, not a model file; `normdiag check {path}` looks at all in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not head:
        raise InputError(f"{path}: the file is empty")
    return head, status.st_size


def _sniff_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = strip_top_folder(archive.namelist())
    # A damaged central directory makes zipfile raise almost anything.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: {why_no_zip(error)}") from None
    found = _zip_format(names)
    if found is None:
        raise InputError(f"{path}: {_zip_stranger(names)}")
    return found


def why_no_zip(error: BaseException) -> str:
    """One line for a zip file whose central directory cannot be read."""
    if "not a zip file" in str(error):
        return "the zip archive has no directory at its end: the file is truncated"
    return f"the zip archive is damaged or truncated ({' '.join(str(error).split()) or type(error).__name__})"


def strip_top_folder(names: Sequence[str]) -> list[str]:
    """Member names without the one top folder that they all sit under, if they do."""
    tops = {name.partition("/")[0] for name in names}
    if len(tops) == 1 and all("/" in name for name in names):
        return [name.partition("/")[2] for name in names]
    return list(names)


def _zip_format(names: Sequence[str]) -> Format | None:
    present = set(names)
    if "archive_format" in present:
        exported = any(name.startswith("models/") and name.endswith(".json") for name in names)
        return "torch-export" if exported else "aotinductor"
    if "serialized_exported_program.json" in present:  # torch.export before torch 2.8
        return "torch-export"
    if "constants.pkl" in present or any(name.startswith("code/") for name in names):
        return "torchscript"
    if "data.pkl" in present:
        return "torch-zip"
    if any("data/aotinductor/" in name for name in names):  # AOTInductor before torch 2.8
        return "aotinductor"
    return None


def _zip_stranger(names: Sequence[str]) -> str:
    if not names:
        return "is an empty zip archive"
    if all(name.endswith(".npy") for name in names):
        return "is a NumPy archive (.npz), not a model: give it with --data"
    if "model.json" in names:
        return "is a TorchScript archive from before torch 1.2: load and save it again with a newer torch"
    return "is a zip archive, but of nothing that torch writes"


def _is_legacy(head: bytes) -> bool:
    """The magic number, pickled by protocol 2 as a rule; protocols 4 and 5 put a frame of nine bytes before it."""
    start = 11 if head[2:3] == b"\x95" else 2
    magic = LEGACY_MAGIC[2:]
    return head[0] == 0x80 and head[start : start + len(magic)] == magic


def _is_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    is_object = head[8:9] == b"{" and head[9:].lstrip()[:1] in (b'"', b"}", b"")
    return is_object and 2 <= length <= MAX_SAFETENSORS_HEADER


def _refuse_strangers(path: Path, head: bytes) -> None:
    for magic, what in _STRANGERS:
        if head.startswith(magic):
            raise InputError(f"{path}: {what}")
    if head[257:262] == b"ustar":
        old = "; torch before 0.1.10 wrote such files: load and save it again with a newer torch"
        raise InputError(f"{path}: is a tar archive: unpack it first{old if b'sys_info' in head[:100] else ''}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        raise InputError(f"{path}: is a web page (HTML or XML), not a model: the download failed or needs a login")
    if text[:1] in (b"{", b"[") and text[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]", b""):
        raise InputError(f"{path}: is JSON text, not a model")


# Fields of onnx.ModelProto and their protobuf wire types: 0 varint, 2 length-delimited.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_ONNX_REQUIRED = {1, 7}  # ir_version and graph
_MAX_ONNX_FIELDS = 1_000_000


def _is_onnx(path: Path, size: int) -> bool:
    """Walk the top-level fields of the protobuf message, without reading what is in them.

    Raises InputError where ir_version and graph have been seen and a field then passes the end of the file.
    """
    seen: set[int] = set()
    with path.open("rb") as file:
        for _ in range(_MAX_ONNX_FIELDS):
            sure = seen >= _ONNX_REQUIRED
            if file.tell() == size:
                return sure
            tag, value = _read_varint(file), None
            if tag is not None and _ONNX_FIELDS.get(tag >> 3) == tag & 7:
                seen.add(tag >> 3)
                value = _read_varint(file)
            end = None if tag is None or value is None else file.tell() + (value if tag & 7 == 2 else 0)
            if end is None or end > size:
                return _cut_off(path, sure or seen >= _ONNX_REQUIRED, size)
            file.seek(end)
    return False


def _cut_off(path: Path, sure: bool, size: int) -> bool:
    if sure:
        raise InputError(f"{path}: ONNX file truncated: what it declares does not end in its {size} bytes")
    return False


def _read_varint(file: BinaryIO) -> int | None:
    """The protobuf varint at the file's position, and the file then stands after it; None where there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
