"""Commands in a folder of somebody else's: nothing that lies there is run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("multiprocessing", "numpy", "onnx", "onnxruntime", "typer", "dataclasses", "sitecustomize", "normdiag")


@pytest.fixture
def folder(tmp_path: Path, samples: Path) -> Path:
    """Two models, and modules that would take the place of those that normdiag imports."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / f'ran_{name}')!r}, 'w')\n")
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes((samples / "digits_cnn.onnx").read_bytes())
    (tmp_path / "data.npz").write_bytes((samples / "digits.npz").read_bytes())
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the installed command does it: the folder of the script is on the path, the current one is not."""
    script = folder.parent / f"{folder.name}_normdiag"
    script.write_text("from normdiag.cli.app import main\nmain()\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    "command",
    [
        "check a.onnx b.onnx --jobs 2",
        "check a.onnx b.onnx --data data.npz",
        "inspect a.onnx --data data.npz",
        "fold a.onnx -o folded.onnx",
    ],
)
def test_no_module_of_the_folder_is_imported(folder: Path, command: str) -> None:
    done = run(folder, *shlex.split(command))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.glob("ran_*")] == []


def test_a_file_name_is_no_option(folder: Path) -> None:
    """The hook's arguments end in `--`, after which pre-commit puts the names of the files."""
    name = "--arch=numpy.py:Net.onnx"
    (folder / "a.onnx").rename(folder / name)
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["args"][-1] == "--"
    done = run(folder, "check", *hook["args"], name)
    assert done.returncode == 0 and name in done.stdout, done.stderr
    assert [path.name for path in folder.glob("ran_*")] == []
