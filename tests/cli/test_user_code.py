"""User code may print what it likes, and fail: stdout stays clean, stderr says what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "normdiag", "inspect", *arguments]
    return subprocess.run(command, check=False, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "d.py").write_text(
        "import os\nimport numpy as np\n"
        "def prints():\n"
        "    print('HELLO')\n    os.write(1, b'RAW')\n    os.system('echo SUB')\n"
        "    yield np.zeros((4, 1, 8, 8), np.float32)\n"
        "def misnamed():\n    yield {'z': np.zeros((4, 1, 8, 8), np.float32)}\n"
    )
    return tmp_path


def test_what_user_code_prints_goes_to_stderr(code: Path, samples: Path) -> None:
    done = run(str(samples / "digits_cnn.onnx"), "--data", "d.py:prints", "--json", cwd=code)
    assert json.loads(done.stdout)["data"]["samples"] == 4
    assert all(word in done.stderr for word in ("HELLO", "RAW", "SUB"))


def test_a_batch_by_a_name_that_the_model_does_not_have_is_refused(code: Path, samples: Path) -> None:
    done = run(str(samples / "digits_cnn.onnx"), "--data", "d.py:misnamed", cwd=code)
    assert done.returncode == 2
    assert "z" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("digits_cnn.pt", ["--data", "nope.npz"], "nope.npz"),
        ("digits_cnn.onnx", ["--data", "random", "--device", "cuda"], "--device cuda"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    model: str, options: list[str], words: str, code: Path, samples: Path
) -> None:
    done = run(str(samples / model), *options, cwd=code)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_training_mode_export_is_told_without_data(code: Path, samples: Path) -> None:
    done = run(str(samples / "digits_cnn_training.onnx"), cwd=code)
    assert "training mode" in done.stdout
    assert "depends on what else is in the batch" in " ".join(done.stdout.split())
