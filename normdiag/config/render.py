"""The effective configuration as `--show-config` prints it: in the words of normdiag.toml."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from normdiag.config.config import Config
from normdiag.config.data import DataSettings, from_folder
from normdiag.config.parse import RENAMED as MEMBERS

RENAMED = {member: key for key, member in MEMBERS.items()}


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration with the limits of all chosen rules, as a table that `parse` reads back.

    Paths and globs in it, also those of data from the current folder, are relative to the configuration's folder.
    """
    models = {glob: _data(settings, config) for glob, settings in config.models.items()}
    if config.data.said():
        models = {glob: _data(config.data.over(settings), config) for glob, settings in config.models.items()}
        everywhere = _data(config.data, config)
        models["*"] = models.pop("*", everywhere)  # after the others: the first that fits counts
    return {
        "select": list(config.select),
        "ignore": list(config.ignore),
        "fail-on": config.fail_on,
        **({"require-data": True} if config.require_data else {}),
        **({} if config.target is None else {"target": config.target}),
        "per-file-ignores": {glob: list(words) for glob, words in config.per_file_ignores.items()},
        "per-layer-ignores": {glob: list(words) for glob, words in config.per_layer_ignores.items()},
        "rules": {rule.id: dict(rule.limits) for rule in config.rules() if rule.limits},
        "models": models,
    }


def to_toml(config: Config) -> str:
    """The same as a normdiag.toml that would have the same effect, with a comment that says where it came from."""
    origin = "defaults" if config.source is None else f"read from {_quoted(config.source)}"
    folder = _quoted(os.path.relpath(config.folder))
    header = f"# {origin}, with flags over it; paths are relative to {folder}"
    return "\n".join([header, *_lines(to_dict(config), ())]) + "\n"


def _data(settings: DataSettings, config: Config) -> dict[str, Any]:
    if settings.data is not None:
        specs = tuple(from_folder(spec, Path.cwd(), config.folder) for spec in settings.data)
        settings = replace(settings, data=specs)
    if settings.reference is not None:
        settings = replace(settings, reference=from_folder(settings.reference, Path.cwd(), config.folder))
    said = {RENAMED.get(name, name.replace("_", "-")): value for name, value in settings.said().items()}
    said.pop("allow-code", None)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    if path and lines:
        lines = ["", f"[{'.'.join(map(_key, path))}]", *lines]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _lines(value, (*path, key))
    return lines


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else _quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL; what cannot be encoded is replaced."""
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
