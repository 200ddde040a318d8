"""The file of a profile: everything comes back, and what is not one is one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from normdiag.errors import InputError
from normdiag.models.sniff import is_profile, sniff
from normdiag.profiles import read_profile, write_profile
from normdiag.records import Point, PointSums, Profile
from tests.profiles.profiles import MODEL, profile


def rewritten(path: Path, change: object) -> None:
    """The file with another description in its header."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    told = json.loads(header["__metadata__"]["normdiag.profile"])
    change(told)  # type: ignore[operator]
    header["__metadata__"]["normdiag.profile"] = json.dumps(told)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_profile(profile(), tmp_path / "a.profile")
    return tmp_path / "a.profile"


@pytest.mark.parametrize("groups", [2, 4, 8, 16])
def test_what_was_written_is_read(tmp_path: Path, groups: int) -> None:
    made = profile(groups=groups)
    write_profile(made, tmp_path / "a.profile")
    found = read_profile(tmp_path / "a.profile")
    assert (found.model, found.data, found.groups, found.notes) == (made.model, made.data, groups, made.notes)
    assert list(found.points) == list(made.points)
    for point, sums in made.points.items():
        for name in ("shift", "counts", "first", "second"):
            np.testing.assert_array_equal(getattr(found.points[point], name), getattr(sums, name))


def test_a_profile_without_points(tmp_path: Path) -> None:
    write_profile(profile(points={}), tmp_path / "a.profile")
    assert read_profile(tmp_path / "a.profile").points == {}


def test_it_is_recognised_and_is_no_model(path: Path) -> None:
    assert is_profile(path) and not is_profile(path.parent) and not is_profile(path.parent / "none")
    with pytest.raises(InputError, match="is a profile, not a model"):
        sniff(path)


def test_resnet50_takes_no_more_than_40_megabytes(tmp_path: Path) -> None:
    """26,560 channels enter its norms and 22,720 its activations; 1000 leave it."""
    widths = [26_560, 22_720, 1000, 3]
    points = {
        Point("norm", str(index)): PointSums(np.zeros(c), np.zeros(16, int), np.zeros((2, 16, c)), np.zeros((3, c)))
        for index, c in enumerate(widths)
    }
    write_profile(profile(points=points), tmp_path / "a.profile")
    assert (tmp_path / "a.profile").stat().st_size <= 40e6
    write_profile(profile(points=points, groups=4), tmp_path / "b.profile")
    assert (tmp_path / "b.profile").stat().st_size <= 10e6


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_one_line(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"is not a profile|damaged or truncated") as caught:
        read_profile(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("points"),
        lambda told: told.update(points=None),
        lambda told: told.update(points=told["points"][:2]),
        lambda told: told["points"][0].update(channels=4),
        lambda told: told["points"][0].update(channels=-3),
        lambda told: told["points"][0].update(channels=True),
        lambda told: told["points"][0].update(channels=10**30),
        lambda told: told["points"][0].update(role="weights"),
        lambda told: told["points"][0].update(name=None),
        lambda told: told["points"].append(told["points"][0]),
        lambda told: told.update(groups=5),
        lambda told: told.update(groups=[16]),
        lambda told: told.update(model="net.onnx"),
        lambda told: told["model"].update(parameters="many"),
        lambda told: told["data"].update(samples=-1),
        lambda told: told.update(notes=[1]),
    ],
)
def test_a_header_that_does_not_fit_the_numbers_is_one_line(path: Path, change: object) -> None:
    rewritten(path, change)
    with pytest.raises(InputError, match="the profile is damaged: its header does not describe what the file holds"):
        read_profile(path)


def test_a_newer_version_is_refused(path: Path) -> None:
    rewritten(path, lambda told: told.update(version=2))
    with pytest.raises(InputError, match="a profile of version 2, and this normdiag reads 1: update normdiag"):
        read_profile(path)


def test_counts_below_zero_are_refused(path: Path) -> None:
    made = profile()
    sums = next(iter(made.points.values()))
    sums.counts[0] = -1
    write_profile(made, path)
    with pytest.raises(InputError, match="damaged"):
        read_profile(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"x" * 100, b"\x00" * 200])
def test_what_is_no_profile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.profile"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a profile; `normdiag profile MODEL"):
        read_profile(path)
    with pytest.raises(InputError, match="no such file"):
        read_profile(tmp_path / "b.profile")
    with pytest.raises(InputError, match="is not a file"):
        read_profile(tmp_path)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr("safetensors.numpy.save", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        write_profile(Profile(MODEL, profile().data, {}), path)
    assert path.read_bytes() == before
