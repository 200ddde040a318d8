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


def read_config(start: Path, rules: Sequence[Rule] = RULES) -> Config:
    """The defaults with what the nearest configuration file says, from `start` upwards.

    In each folder normdiag.toml goes before a pyproject.toml with [tool.normdiag]. Raises UsageError for a file that is
    no TOML or says what cannot be.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        for path, table in _candidates(folder):
            shown = os.path.relpath(path, start)
            try:
                settings = parse(table, rules, folder)
            except UsageError as error:
                raise UsageError(f"{shown}: {error}") from None
            return replace(merge(Config(), settings), folder=folder, source=shown)
    return Config(folder=start)


def _candidates(folder: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    own, project = folder / "normdiag.toml", folder / "pyproject.toml"
    if own.is_file():
        return [(own, _toml(own))]
    if not project.is_file():
        return []
    tool = _toml(project).get("tool", {})
    if "normdiag" not in tool:
        return []
    if not isinstance(tool["normdiag"], Mapping):
        raise UsageError(f"{project}: [tool.normdiag] must be a table")
    return [(project, tool["normdiag"])]


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
