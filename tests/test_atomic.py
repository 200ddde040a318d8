"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normdiag.atomic import publish, replacing, temporary


def test_a_read_only_file_is_replaced_and_stays_read_only(tmp_path: Path) -> None:
    target = tmp_path / "r"
    target.write_text("old")
    target.chmod(0o444)
    with replacing(target) as stream:
        stream.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o444


def test_a_failing_block_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "r"
    with pytest.raises(RuntimeError), replacing(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_names_of_the_longest_length(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)  # 254 bytes
    with replacing(target) as stream:
        stream.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_publish_takes_the_first_free_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("somebody's")
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    with temporary(tmp_path / "a") as path:
        path.write_text("ours")
        assert publish(path, [tmp_path / name for name in "abcd"]) == tmp_path / "c"
    assert (tmp_path / "a").read_text() == "somebody's" and (tmp_path / "c").read_text() == "ours"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o666 & ~mask


def test_without_a_free_name_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("somebody's")
    with pytest.raises(FileExistsError), temporary(tmp_path / "a") as path:
        publish(path, [tmp_path / "a"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
