"""Recordings, read by soundfile where it is installed: cut into windows, one after the other, as samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import ArrayFacts, Feed, check_batch_bytes, reading
from normdiag.errors import InputError, UsageError
from normdiag.records import Batch, InputSpec

SUFFIXES = frozenset({".wav", ".flac"})
INSTALL = 'pip install "normdiag[audio]"'
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """The shape of a window, from what the model declares or the user says: `length` None is a second.

    `channels` is 0 where the samples have no axis for them, (N, T); else they are before the time, or after it.
    """

    length: int | None = None
    channels: int = 0
    after: bool = False

    def put(self, sound: Sound) -> Sound:
        """(N, T, channels of the file) as the model takes it; several channels become their mean where it takes one."""
        if self.channels <= 1:
            sound = sound.mean(2, keepdims=True, dtype=np.float32)
        if not self.channels:
            return sound[:, :, 0]
        return sound if self.after else np.ascontiguousarray(np.moveaxis(sound, 2, 1))


@dataclass(frozen=True)
class Recording:
    """A file, its sample rate in Hz and its number of frames."""

    path: Path
    rate: int
    frames: int


def is_audio(path: Path) -> bool:
    """Whether a file has the suffix of a recording."""
    return path.suffix.lower() in SUFFIXES


def windows_of(declared: InputSpec | None, given: InputSpec | None) -> Windows:
    """How to cut recordings for what a model declares of its input, or for the shape of one sample that is given."""
    shape = given.shape if given is not None and given.shape else declared.shape if declared is not None else None
    sizes = (shape or (None, None))[1:]
    if len(sizes) == 1:
        return Windows(sizes[0])
    if len(sizes) != 2:
        raise InputError("recordings are read as (N, T), (N, channels, T) or (N, T, channels), not as the model takes")
    after = sizes[1] is not None and sizes[1] <= 2 and not (sizes[0] is not None and sizes[0] <= 2)
    time, channels = sizes if after else sizes[::-1]
    return Windows(time, channels or 1, after)


def audio_feed(source: str, paths: Sequence[Path], windows: Windows, name: str | None) -> Feed:
    """A feed of float32 windows in -1 to 1; what is left at the end of a recording is left out.

    A recording shorter than a window is filled up with zeros. Raises UsageError where soundfile is not installed,
    InputError for a damaged file.
    """
    recordings = [_opened(path) for path in paths]
    length = windows.length or recordings[0].rate
    places = [
        (each, start)
        for each in recordings
        for start in range(0, max(each.frames - length, 0) + 1, length)
        if each.frames
    ]
    if not places:
        raise InputError(f"{source}: the recordings are empty")
    first = windows.put(_window(places[0][0], places[0][1], length)[None])
    facts = ArrayFacts((len(places), *first.shape[1:]), np.dtype(np.float32), name)

    def rows(indexes: NDArray[np.int64]) -> Batch:
        check_batch_bytes(source, facts.shape, facts.dtype, len(indexes))
        cut = [_window(places[index][0], places[index][1], length) for index in indexes]
        if len({each.shape for each in cut}) > 1:
            raise InputError(f"{source}: the recordings differ in their number of channels")
        return Batch((windows.put(np.stack(cut)),))

    def read(batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(places), batch_size):
            yield rows(np.arange(start, min(start + batch_size, len(places))))

    return Feed(source, "audio", read, (facts,), rows, notes=(_note(source, recordings, length),))


def _note(source: str, recordings: Sequence[Recording], length: int) -> str:
    rates = sorted({each.rate for each in recordings})
    listed = " and ".join(f"{rate:,}" for rate in rates)
    seconds = f"{length / rates[0]:.3g} s" if len(rates) == 1 else f"{length:,} frames"
    return f"{source}: windows of {length:,} frames ({seconds}) at {listed} Hz; nothing is resampled"


def _opened(path: Path) -> Recording:
    with reading(str(path), RuntimeError):
        info = _soundfile().info(str(path))
    return Recording(path, int(info.samplerate), int(info.frames))


def _window(recording: Recording, start: int, length: int) -> Sound:
    """(T, channels), with zeros after the end."""
    with reading(str(recording.path), RuntimeError):
        found, _ = _soundfile().read(
            str(recording.path), length, start, dtype="float32", always_2d=True, fill_value=0.0
        )
    return np.asarray(found, np.float32)


def _soundfile() -> Any:
    if find_spec("soundfile") is None:
        raise UsageError(f"reading recordings needs soundfile, which is not installed: {INSTALL}")
    return import_module("soundfile")
