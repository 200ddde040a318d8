"""Finding and reading the configuration file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from normdiag.config.config import Config, merge
from normdiag.config.parse import parse
from normdiag.errors import UsageError
from normdiag.rules import RULES, Rule

PYPROJECT = "pyproject.toml"


def read_config(start: Path, rules: Sequence[Rule] = RULES) -> Config:
    """The defaults with what the nearest configuration file says, from `start` upwards.

    In each folder normdiag.toml goes before a pyproject.toml with [tool.normdiag]. Raises UsageError for a file that is
    no TOML or says what cannot be.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        for path, table in _candidates(folder):
            return _config(table, rules, folder, os.path.relpath(path, start))
    return Config(folder=start)


def read_config_file(path: Path, rules: Sequence[Rule] = RULES) -> Config:
    """The defaults with what this file says: a pyproject.toml with [tool.normdiag], or as a normdiag.toml.

    Raises UsageError where it cannot be read, is no TOML or says what cannot be.
    """
    table = _own_table(path) if path.name == PYPROJECT else _plain(path)
    if table is None:
        raise UsageError(f"{path}: has no [tool.normdiag]")
    return _config(table, rules, path.resolve().parent, str(path))


def _config(table: Mapping[str, Any], rules: Sequence[Rule], folder: Path, shown: str) -> Config:
    try:
        settings = parse(table, rules, folder)
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
    tool = _toml(project).get("tool", {})
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
    table = _toml(path)
    if "tool" in table:
        raise UsageError(
            f"{path}: [tool.normdiag] is a heading for pyproject.toml; in this file leave 'tool.normdiag' out"
        )
    return table


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: is no valid TOML ({error})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
