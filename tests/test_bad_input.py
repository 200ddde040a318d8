"""Bad input of every kind: one line, exit 2, and no waiting."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import onnx
import pytest
from PIL import Image

import normdiag
from normdiag.cli import fold as fold_command
from normdiag.cli.app import run
from normdiag.commands.check import check
from normdiag.config import read_config
from normdiag.data.source import open_data
from normdiag.errors import InputError, UsageError


@pytest.mark.parametrize("name", ["pipe", "pipe.npy", "pipe.png"])
def test_a_pipe_as_data_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="no regular file but a pipe"):
        next(iter(open_data([str(tmp_path / name)])))


def test_a_folder_that_may_not_be_searched_costs_only_its_own_files(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without search permission names can be listed, and every other question raises PermissionError."""
    closed = tmp_path / "closed"
    closed.mkdir()
    for path in (tmp_path / "good.onnx", closed / "net.onnx"):
        path.write_bytes((samples / "digits_cnn.onnx").read_bytes())
    real = os.stat

    def stat(path, *arguments, **options):
        if Path(os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else "/").parent == closed:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    good, bad = check([tmp_path]).models
    assert good.error is None and bad.error is not None and "Permission denied" in bad.error


@pytest.mark.parametrize("field", ["producer_name", "doc_string"])
def test_texts_of_a_model_that_are_not_utf8(tmp_path: Path, samples: Path, field: str) -> None:
    model = onnx.load(samples / "digits_cnn.onnx")
    setattr(model, field, "TEXTTEXT")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString().replace(b"TEXTTEXT", b"\xff" * 8))
    report = normdiag.inspect(tmp_path / "net.onnx", data=[str(samples / "digits.npz")])
    assert report.verdict == "ok"
    assert normdiag.fold(tmp_path / "net.onnx", output=tmp_path / "out.onnx").plan.steps


@pytest.mark.parametrize("header", [b"-" * 9900, b"{" + b"-" * 9900 + b"}\n"])
def test_an_npy_header_that_is_too_deep(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(InputError, match=r"the \.npy header is damaged"):
        open_data([str(tmp_path / "x.npy")])


@pytest.mark.parametrize("text", [b"x = " + b"9" * 100_000, b"\xff", b"[" * 10_000, b"#" * (1 << 21)])
def test_toml_that_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "normdiag.toml").write_bytes(text)
    with pytest.raises(UsageError, match=r"normdiag\.toml: is "):
        read_config(tmp_path)


def test_images_do_not_print_what_pillow_warns_of(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8))
    image.info["transparency"] = b"\x00" * 4
    image.save(tmp_path / "a.png", transparency=b"\x00" * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(iter(open_data([str(tmp_path)])))


def test_the_exit_code_where_nothing_can_be_said() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-m", "normdiag", "inspect", "nofile"], stderr=full, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(("written", "code"), [(False, 130), (True, 0)])
def test_ctrl_c_and_a_written_file_do_not_go_together(
    written: bool, code: int, tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Either nothing is there and the code is 130, or the file is whole and it is 0."""
    target = tmp_path / "out.onnx"
    real = normdiag.fold

    def interrupted(*given, **options):
        if written:
            real(*given, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("normdiag.commands.fold.fold", interrupted)
    assert run(["fold", str(samples / "digits_cnn.onnx"), "-o", str(target)]) == code
    assert target.exists() is written
    err = capsys.readouterr().err
    assert ("written and complete" in err) is written and ("nothing written" in err) is not written
    assert fold_command._identity(target) is not None or not written
