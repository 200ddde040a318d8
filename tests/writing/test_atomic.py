"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from normdiag.errors import InputError, one_line
from normdiag.writing.atomic import check_place, publish, replacing, temporary


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


@pytest.mark.parametrize("name", ["/proc/x.json", "/dev/full"])
def test_a_failure_names_the_target_and_no_file_of_ours(name: str) -> None:
    if not Path(name).parent.is_dir() or (name == "/dev/full" and not Path(name).exists()):
        pytest.skip(f"there is no {name} here")
    with pytest.raises(OSError) as caught, replacing(Path(name)) as stream:
        stream.write(b"new")
    assert one_line(caught.value).startswith(f"{name}: ") and "normdiag-tmp" not in str(caught.value)


def test_a_failure_of_another_file_in_the_block_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, replacing(tmp_path / "r"):
        (tmp_path / "none").read_bytes()
    assert caught.value.filename == str(tmp_path / "none")


def test_names_of_the_longest_length(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)  # 254 bytes
    with replacing(target) as stream:
        stream.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_link_is_checked_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to("file")
    (tmp_path / "lost").symlink_to("nowhere/file")
    (tmp_path / "loop").symlink_to("loop")
    check_place(tmp_path / "new", "-o")
    with pytest.raises(InputError, match=f"-o {tmp_path}/lost is a link to .*: the folder .*nowhere does not exist"):
        check_place(tmp_path / "lost", "-o")
    if sys.version_info < (3, 13):  # later ones replace the link
        with pytest.raises(InputError, match="leads back to itself"):
            check_place(tmp_path / "loop", "-o")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/2", "/dev/null"])
def test_streams_and_devices_are_places(name: str) -> None:
    check_place(Path(name), "-o")


def test_a_link_into_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "link").symlink_to("closed/file")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")  # root may write anywhere
    with pytest.raises(InputError, match="closed cannot be written to"):
        check_place(tmp_path / "link", "-o")


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


WRITING = """
import sys, time
from pathlib import Path
from normdiag.writing.atomic import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(target: Path) -> subprocess.Popen[str]:
    """A process that is in the midst of writing."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    others = {tmp_path / ".model.onnx.original", tmp_path / ".other.onnx.abcdefgh.normdiag-tmp"}
    for path in others:
        path.write_text("somebody's")
    killed, running = writer(target), writer(target)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(set(tmp_path.iterdir()) - others) == 2
    try:
        with replacing(target) as stream:
            stream.write(b"new")
        (kept,) = set(tmp_path.iterdir()) - others - {target}  # what is being written
        assert target.read_bytes() == b"new"
    finally:
        running.kill()
        running.wait()
    with replacing(target):
        assert not kept.exists()
    assert set(tmp_path.iterdir()) == {*others, target}


def test_a_file_that_was_taken_away_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process looks for what was left behind at that very moment."""
    lock, taken = fcntl.flock, []

    def slow(handle: int, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with replacing(tmp_path / "f") as stream:
        stream.write(b"new")
    assert taken and [path.name for path in tmp_path.iterdir()] == ["f"]


def test_many_writers_of_one_target(tmp_path: Path) -> None:
    """None takes the other's file for one that was left behind."""

    def write(number: int) -> None:
        for _ in range(50):
            with replacing(tmp_path / "f") as stream:
                stream.write(b"%d" % number * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(set((tmp_path / "f").read_bytes())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
