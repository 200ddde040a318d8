"""The whole program on a bundled model, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "report.schema.json").read_text(encoding="utf-8"))
IMPORTS = """
import sys
from normdiag.cli.app import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules, "an ONNX file must not need torch"
sys.exit(code)
"""


def normdiag(*arguments: object, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}
    command = [sys.executable, "-c", IMPORTS, "inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120, check=False)


def test_report_on_data(samples: Path) -> None:
    result = normdiag(samples / "digits_cnn.onnx", "--data", samples / "digits.npz", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [layer["kind"] for layer in document["layers"]] == ["batch_norm"] * 3
    assert all(layer["drift"]["se"] > 0 for layer in document["layers"])
    assert document["data"]["samples"] == 359 and document["gap"]["relative_rms"] > 0


def test_wrong_scaling_is_an_error_and_exit_1(samples: Path) -> None:
    result = normdiag(samples / "digits_cnn.onnx", "--data", samples / "digits.npz", "--preprocess", "raw")
    assert (result.returncode, result.stderr) == (1, "")
    assert "✗ Problem: the input is not prepared as in training." in result.stdout


@pytest.mark.parametrize("option", [[], ["--all"], ["--json"], ["--channels", "norm2"]])
def test_static_report(samples: Path, option: list[str]) -> None:
    result = normdiag(samples / "digits_cnn.onnx", *option)
    assert (result.returncode, result.stderr) == (0, "")
    assert "norm2" in result.stdout


def test_ctrl_c_reports_on_what_was_seen(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(
        "import os, signal\n"
        "import numpy as np\n"
        "def batches():\n"
        "    for index in range(10):\n"
        "        if index == 3:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield np.random.default_rng(index).random((8, 1, 8, 8), np.float32)\n"
    )
    result = normdiag(samples / "digits_cnn.onnx", "--data", "feed.py:batches", "--json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (130, "")
    document = json.loads(result.stdout)
    assert document["interrupted"] is True and document["data"]["samples"] == 24
