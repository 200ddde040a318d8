"""Finding and reading the configuration file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from normdiag.config.config import Config, merge
from normdiag.config.own import read_own_config
from normdiag.config.parse import parse
from normdiag.config.toml import read_toml
from normdiag.errors import UsageError

PYPROJECT = "pyproject.toml"
# What is at the root of a repository: a folder, or in a work tree of git a file.
REPOSITORIES = (".git", ".hg", ".svn", ".jj")


def read_config(start: Path, *, allow_code: bool = False) -> Config:
    """The defaults with what the nearest configuration file says, from `start` up to the repository's root.

    The search also ends at the user's home. In each folder normdiag.toml goes before a pyproject.toml with
    [tool.normdiag]. Without `allow_code` code that the file names as data is not run, unless the user's own
    configuration allows it for the folder. Raises UsageError for a file that is no TOML, says what cannot be, or
    belongs to somebody else, who would decide what is checked.
    """
    for folder in _upwards(start.resolve()):
        for path, table in _candidates(folder):
            require_own(path)
            return _config(table, folder, os.path.relpath(path, start), allow_code)
    return Config(folder=start)


def read_config_file(path: Path, *, allow_code: bool = False) -> Config:
    """The defaults with what this file says: a pyproject.toml with [tool.normdiag], or as a normdiag.toml.

    Code in it as for `read_config`. Raises UsageError where it cannot be read, is no TOML or says what cannot be.
    """
    table = _own_table(path) if path.name == PYPROJECT else _plain(path)
    if table is None:
        raise UsageError(f"{path}: has no [tool.normdiag]")
    return _config(table, path.resolve().parent, str(path), allow_code)


def _upwards(start: Path) -> Iterator[Path]:
    """The folder and those above it, up to the root of a repository, the user's home or that of the file system."""
    try:
        home = Path.home().resolve()
    except (RuntimeError, OSError):
        home = None
    for folder in (start, *start.parents):
        yield folder
        if folder == home or any((folder / name).exists() for name in REPOSITORIES):
            return


def require_own(path: Path) -> None:
    """Raise UsageError for a file of another user, as git does for a repository; root's are everybody's."""
    if not hasattr(os, "geteuid"):
        return
    users = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        users.add(int(os.environ["SUDO_UID"]))
    owner = path.stat().st_uid
    if owner not in users:
        raise UsageError(
            f"{path}: belongs to another user (uid {owner}) and is not read; give it with --config if you trust it, "
            "or leave it out with --no-config"
        )


def _config(table: Mapping[str, Any], folder: Path, shown: str, allow_code: bool) -> Config:
    try:
        settings = parse(table, folder, allow_code=allow_code or read_own_config().allows_code(folder))
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from None
    return replace(merge(Config(), settings), folder=folder, source=shown)


def _candidates(folder: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    own, project = folder / "normdiag.toml", folder / PYPROJECT
    if own.is_file():
        return [(own, _plain(own))]
    table = _own_table(project) if project.is_file() else None
    return [] if table is None else [(project, table)]


def _own_table(project: Path) -> Mapping[str, Any] | None:
    """[tool.normdiag] of a pyproject.toml."""
    tool = read_toml(project).get("tool", {})
    if not isinstance(tool, Mapping):
        raise UsageError(f"{project}: [tool] must be a table")
    if "normdiag" not in tool:
        return None
    table = tool["normdiag"]
    if not isinstance(table, Mapping):
        raise UsageError(f"{project}: [tool.normdiag] must be a table")
    return table


def _plain(path: Path) -> Mapping[str, Any]:
    """The whole of a file that is for normdiag alone."""
    table = read_toml(path)
    if "tool" in table:
        raise UsageError(
            f"{path}: [tool.normdiag] is a heading for pyproject.toml; in this file leave 'tool.normdiag' out"
        )
    return table
