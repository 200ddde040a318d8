"""The file of a profile: safetensors, with what the numbers belong to as JSON in its header.

Tensors, in float64, C channels in all, the points one after another: `shift` (C,), `first` (2, groups, C),
`second` (3, C), and `counts` (points, groups) as int64. docs/profile.md describes the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.sniff import PROFILE_KEY, is_profile
from normdiag.records import Point, PointRole, PointSums, Profile, ProfiledData, ProfiledModel
from normdiag.records.channel_sums import PARTS
from normdiag.writing.atomic import replacing

VERSION = 1
GROUPS = (2, 4, 8, 16)


def write_profile(profile: Profile, target: Path) -> None:
    """Write it whole or not at all."""
    from safetensors.numpy import save

    sums = [each.grouped(profile.groups) for each in profile.points.values()]
    kept = slice(0, profile.groups)
    empty = np.zeros(0), np.zeros((2, profile.groups, 0)), np.zeros((3, 0))
    tensors = {
        "shift": np.concatenate([empty[0], *(each.shift for each in sums)]),
        "first": np.concatenate([empty[1], *(each.first[:, kept] for each in sums)], 2),
        "second": np.concatenate([empty[2], *(each.second for each in sums)], 1),
        "counts": np.array([each.counts[kept] for each in sums], np.int64).reshape(len(sums), profile.groups),
    }
    data = save(tensors, metadata={PROFILE_KEY: json.dumps(_described(profile))})
    with replacing(target) as stream:
        stream.write(data)


def read_profile(path: Path) -> Profile:
    """The profile in a file. Raises InputError for a file that is none, is damaged, or of a newer version."""
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    if not is_profile(path):
        raise InputError(f"{path}: is not a profile; `normdiag profile MODEL --data DATA -o X.profile` writes one")
    text, tensors = _opened(path)
    try:
        return _profile(json.loads(text), tensors)
    except _FormatError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError(f"{path}: the profile is damaged: its header does not describe what the file holds") from None


class _FormatError(Exception):
    """What is wrong with the content."""


def _opened(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return metadata.get(PROFILE_KEY, ""), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own, without a base of its own kind
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the profile is damaged or truncated ({reason})") from None


def _described(profile: Profile) -> dict[str, Any]:
    points = [asdict(point) | {"channels": sums.channels} for point, sums in profile.points.items()]
    return {
        "version": VERSION,
        "model": asdict(profile.model),
        "data": asdict(profile.data),
        "groups": profile.groups,
        "points": points,
        "notes": list(profile.notes),
    }


def _profile(told: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Profile:
    version = told["version"]
    if version != VERSION:
        raise _FormatError(f"a profile of version {version!r:.20}, and this normdiag reads {VERSION}: update normdiag")
    groups, rows = told["groups"], told["points"]
    points = [Point(_role(row["role"]), _text(row["name"]), _text(row["kind"])) for row in rows]
    widths = [_count(row["channels"]) for row in rows]
    if groups not in GROUPS or len(set(points)) < len(points):
        raise ValueError
    arrays = _arrays(tensors, groups, len(points), sum(widths))
    if arrays["counts"].min(initial=0) < 0:
        raise ValueError
    ends = np.cumsum([0, *widths]).tolist()
    found = {point: _sums(arrays, groups, index, slice(*ends[index : index + 2])) for index, point in enumerate(points)}
    return Profile(_model(told["model"]), _data(told["data"]), found, groups, tuple(map(_text, told["notes"])))


def _arrays(tensors: Mapping[str, NDArray[Any]], groups: int, points: int, total: int) -> Mapping[str, NDArray[Any]]:
    shapes = {
        "shift": (total,),
        "first": (2, groups, total),
        "second": (3, total),
        "counts": (points, groups),
    }
    for name, shape in shapes.items():
        wanted = np.int64 if name == "counts" else np.float64
        if tensors[name].shape != shape or tensors[name].dtype != wanted:
            raise ValueError
    return tensors


def _sums(arrays: Mapping[str, NDArray[Any]], groups: int, index: int, where: slice) -> PointSums:
    width = where.stop - where.start
    counts, first = np.zeros(PARTS, np.int64), np.zeros((2, PARTS, width))
    counts[:groups] = arrays["counts"][index]
    first[:, :groups] = arrays["first"][:, :, where]
    return PointSums(arrays["shift"][where], counts, first, arrays["second"][:, where])


def _model(told: Mapping[str, Any]) -> ProfiledModel:
    return ProfiledModel(
        _optional(told["path"]),
        _text(told["format"]),
        _text(told["backend"]),
        _optional(told["sha256"]),
        None if told["parameters"] is None else _count(told["parameters"]),
    )


def _data(told: Mapping[str, Any]) -> ProfiledData:
    sources: Sequence[Any] = told["sources"]
    return ProfiledData(
        tuple(map(_text, sources)), _count(told["samples"]), _optional(told["preprocess"]), _optional(told["option"])
    )


def _role(value: Any) -> PointRole:
    if value not in get_args(PointRole) or value == "linear":
        raise ValueError
    role: PointRole = value
    return role


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise TypeError
    return value
