"""Folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from normdiag.writing.new_folder import new_folder


def test_it_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_folder(target) as place:
        (place / "file").write_text("new")
        assert not target.exists() and place.parent == tmp_path
    assert (target / "file").read_text() == "new"
    (tmp_path / "other").mkdir()
    assert target.stat().st_mode & 0o777 == (tmp_path / "other").stat().st_mode & 0o777
    assert {path.name for path in tmp_path.iterdir()} == {"out", "other"}


def test_what_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "file").write_text("old")

    def filled() -> None:
        with new_folder(target) as place:
            (place / "file").write_text("new")
            raise ValueError

    with pytest.raises(ValueError):
        filled()
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_old_one_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "stale").write_text("")
    with new_folder(target) as place:
        (place / "file").write_text("new")
    assert [path.name for path in target.rglob("*")] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
