"""The core as users install it, without torch: commands in an environment of its own, which .ci/run builds.

NORMDIAG_CORE_PYTHON is the Python of that environment; `.venv-core` in the repository is taken where it exists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS = 'needs torch, which is not installed: pip install "normdiag[torch]"\n'


@pytest.fixture(scope="module")
def core() -> str:
    """The Python without torch; skips where none was built, and fails where the one that is named is gone."""
    named = os.environ.get("NORMDIAG_CORE_PYTHON")
    python = Path(named or ROOT / ".venv-core" / "bin" / "python")
    if not named and not python.exists():
        pytest.skip("no environment without torch: .ci/run builds .venv-core")
    return str(python)


def ran(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [python, "-m", "normdiag", *arguments],
        cwd=ROOT,
        env={**environment, "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def report(python: str, *arguments: str) -> dict[str, Any]:
    done = ran(python, *arguments)
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    for model in document.get("models", ()):
        del model["seconds"]
    return document


def test_nothing_of_torch_is_there(core: str) -> None:
    listed = subprocess.run([core, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True)
    names = {each["name"].lower().replace("_", "-") for each in json.loads(listed.stdout)}
    assert "normdiag" in names
    assert not names & {"torch", "onnxscript", "onnx-ir", "triton"} and not any(n.startswith("nvidia") for n in names)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample_models/digits_cnn.onnx", "--data", "sample_models/digits.npz"),
        ("sample_models/digits_transformer_rms.onnx", "--data", "sample_models/digits.npz"),
        ("sample_models/digits_cnn.pt",),
        ("sample_models/digits_cnn_module.pt",),
        ("sample_models/digits_cnn.torchscript.pt",),
        ("sample_models/digits_cnn.pt2",),
    ],
)
def test_inspect_says_what_it_says_with_torch(core: str, arguments: tuple[str, ...]) -> None:
    given = ("inspect", *arguments, "--json")
    assert report(core, *given) == report(sys.executable, *given)


def test_check_of_all_sample_models(core: str) -> None:
    given = ("check", "sample_models", "--format", "json")
    assert report(core, *given) == report(sys.executable, *given)


def test_check_with_data(core: str) -> None:
    arguments = ("check", "sample_models/digits_cnn.onnx", "--data", "sample_models/digits.npz", "--jobs", "2")
    done = ran(core, *arguments)
    assert (done.returncode, done.stdout) == (0, ran(sys.executable, *arguments).stdout), done.stderr


def test_fold(core: str, tmp_path: Path) -> None:
    for python, name in ((core, "core.onnx"), (sys.executable, "torch.onnx")):
        done = ran(python, "fold", "sample_models/digits_cnn.onnx", "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "core.onnx").read_bytes() == (tmp_path / "torch.onnx").read_bytes()


def test_rule_and_help(core: str) -> None:
    for arguments in (("rule", "ND301"), ("rule", "--all"), ("--help",), ("inspect", "--help")):
        done, expected = ran(core, *arguments), ran(sys.executable, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == expected.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("inspect", "sample_models/digits_cnn.pt", "--arch", "sample_models/net.py:DigitsCNN"), "--arch"),
        (("inspect", "sample_models/digits_cnn_module.pt", "--trust"), "--trust"),
        (("inspect", "sample_models/digits_cnn.pt2", "--trust", "--data", "random"), "--trust"),
        (("fold", "sample_models/digits_cnn.torchscript.pt", "--trust", "-o", "folded.pt2"), "--trust"),
        (("fold", "sample_models/digits_cnn.pt", "--arch", "sample_models/net.py:DigitsCNN", "--dry-run"), "--arch"),
    ],
)
def test_what_needs_torch_says_so_in_one_line(core: str, arguments: tuple[str, ...], what: str) -> None:
    done = ran(core, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"normdiag: {what} {NEEDS}")


def test_check_says_so_of_the_model_and_checks_no_less(core: str) -> None:
    arguments = ("check", "sample_models/digits_cnn.pt", "--arch", "sample_models/net.py:DigitsCNN")
    done = ran(core, *arguments)
    assert done.returncode == 2 and 'torch, which is not installed: pip install "normdiag[torch]"' in done.stdout
    assert "internal error" not in done.stdout + done.stderr


def test_the_python_functions_need_no_torch(core: str) -> None:
    code = "import normdiag; print(len(normdiag.inspect('sample_models/digits_cnn.onnx').layers))"
    done = subprocess.run([core, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
