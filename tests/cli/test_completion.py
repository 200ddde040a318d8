"""Shell completion: typer's own, in a process, as the shells call it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "normdiag", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("normdiag insp", ["inspect"]),
        ("normdiag check --fail-on ", ["error", "warning", "info", "never"]),
        ("normdiag inspect --prep", ["--preprocess"]),
        ("normdiag rule ND10", [f"ND10{digit}" for digit in range(1, 10)]),
        ("normdiag inspect ", [""]),  # nothing of ours, so that the shell offers files
    ],
)
def test_what_is_offered(line: str, offered: list[str]) -> None:
    last = str(len(line.split(" ")) - 1)
    done = ran(_NORMDIAG_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=last)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n").split("\n") == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    done = ran("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")  # of the shell around
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_NORMDIAG_COMPLETE=complete_{shell}" in done.stdout
