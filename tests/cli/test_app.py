"""The program as a whole: help, version, failures, closed pipes; in processes of its own where that matters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import normdiag
from normdiag.cli.program import COMMANDS
from normdiag.errors import InputError
from tests.cli.conftest import Result

Cli = Callable[..., Result]
REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "PIL", "safetensors", "onnx_ir", "onnxscript"}


def process(*arguments: str, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["-c", code, *arguments] if code else ["-m", "normdiag", *arguments]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["--version"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from normdiag.cli.app import run; code = run(sys.argv[1:]);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    result = process(*arguments, code=code)
    assert result.returncode == 0 and result.stdout
    assert HEAVY & set(result.stderr.split()) == set()


def test_a_command_imports_neither_the_other_commands_nor_their_records(samples: Path) -> None:
    code = (
        "import sys; from normdiag.cli.app import run; code = run(sys.argv[1:]);"
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    result = process("inspect", str(samples / "digits_cnn.onnx"), code=code)
    assert result.returncode == 0
    others = {f"normdiag.cli.{name}" for name in ("fold", "diff", "history", "recalibrate", "preprocess")}
    others |= {f"normdiag.records.{name}" for name in ("diff", "history", "path", "recalibration", "precision")}
    assert others & set(result.stderr.split()) == set()


def test_all_commands_are_known_where_none_is_given() -> None:
    assert [name for name in COMMANDS if f" {name} " not in process("--help").stdout] == []
    assert "Did you mean 'inspect'?" in process("inspct").stderr


def test_help_names_every_option_and_has_an_example() -> None:
    help_ = process("inspect", "--help", COLUMNS="200").stdout
    options = (
        "--data --preprocess --batch-size --max-samples --seed --device --resize --crop --grayscale --rgb --input-shape"
        " --serve-batch --arch --arch-arg --trust --key --channels --all --attribute --saturation-threshold --format"
        " --json --output -o --quiet --color --no-color"
    )
    assert [option for option in options.split() if option not in help_] == []
    assert "Example:" in help_ and "RUNS CODE" in help_


def test_help_fits_a_narrow_terminal_without_cutting() -> None:
    help_ = process("inspect", "--help", COLUMNS="80").stdout
    assert max(map(len, help_.splitlines())) <= 80
    assert "…" not in help_


def test_no_command_shows_the_help() -> None:
    result = process()
    assert "inspect" in result.stdout + result.stderr and "Traceback" not in result.stderr


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"normdiag {normdiag.__version__}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("net.pt: no such file"), "normdiag: net.pt: no such file"),
        (InputError("two\nlines \x1b[31m"), "normdiag: two\\nlines \\x1b[31m"),
        (MemoryError(), "normdiag: out of memory; a smaller --batch-size needs less"),
        (RecursionError(), "normdiag: the model or the data is nested too deeply to be read"),
        (PermissionError(13, "Permission denied", "x.npy"), "normdiag: x.npy: Permission denied"),
        (OSError("odd"), "normdiag: odd"),
        (ZeroDivisionError("by zero"), "normdiag: internal error: ZeroDivisionError: by zero; please report it"),
        (AssertionError(), "normdiag: internal error: AssertionError: ; please report it"),
        (SystemExit("bye"), "normdiag: code that was loaded ended the program (exit bye)"),
        (SystemExit(0), "normdiag: code that was loaded ended the program (exit 0)"),
    ],
)
def test_every_failure_is_one_line(
    cli: Cli, returns: Callable[[BaseException], None], error: BaseException, line: str
) -> None:
    returns(error)
    result = cli("inspect", "net.onnx")
    assert result.out == "" and result.err.startswith(line) and result.err.count("\n") == 1
    assert result.code == 2


def test_ctrl_c_outside_of_a_run_is_silent(cli: Cli, returns: Callable[[BaseException], None]) -> None:
    returns(KeyboardInterrupt())
    assert cli("inspect", "net.onnx") == Result(130, "", "")


def test_debugging_shows_the_traceback(
    returns: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from normdiag.cli.app import run

    returns(ZeroDivisionError("by zero"))
    monkeypatch.setenv("NORMDIAG_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["inspect", "net.onnx"])


def test_missing_file() -> None:
    result = process("inspect", "no/such/file.onnx")
    assert result.returncode == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    assert "no/such/file.onnx" in result.stderr


FAKE = """
import sys
from normdiag.cli.app import main
from normdiag.commands import check
from tests.report.reports import faulty, hostile
check.inspect = lambda *a, **k: {report}()
main(["inspect", "net.onnx", *sys.argv[1:]])
"""


def test_closed_pipe_is_silent_and_keeps_the_exit_code() -> None:
    script = FAKE.format(report="faulty")
    with subprocess.Popen(
        [sys.executable, "-c", script, "--json", "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()  # before anything is written: the reader has gone
        assert child.stderr.read() == b""
        assert child.wait(60) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("report", ["faulty", "hostile"])
def test_terminals_without_unicode(encoding: str, report: str) -> None:
    result = process(code=FAKE.format(report=report), PYTHONIOENCODING=encoding, COLUMNS="80")
    assert result.returncode == 1 and result.stderr == ""
    assert result.stdout.isascii() and "+/-" in result.stdout and "---" in result.stdout
