"""From a table of a configuration file to a Settings; whatever is unknown or of a wrong type is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from normdiag.config.config import Settings
from normdiag.config.data import DataSettings, from_folder
from normdiag.errors import UsageError
from normdiag.records import FailOn, Target
from normdiag.rules import RULES
from normdiag.rules.choose import find, matching, with_limits
from normdiag.wording import nearest

T = TypeVar("T")
# Members of DataSettings that are called otherwise than their keys.
RENAMED = {"input-shape": "input_shapes", "input-axis": "input_axes", "const": "constants", "state": "states"}
KEYS = (
    "select",
    "extend-select",
    "ignore",
    "fail-on",
    "require-data",
    "target",
    "per-file-ignores",
    "per-layer-ignores",
    "rules",
    "models",
)


def parse(table: Mapping[str, Any], folder: Path, *, allow_code: bool = False) -> Settings:
    """What a file in `folder` says; code as data is refused later unless `allow_code`.

    Raises UsageError for unknown keys and rules and for values of a wrong type.
    """
    _only(table, KEYS, "")

    def words(value: Any, key: str) -> tuple[str, ...]:
        found = _strings(value, key)
        for word in found:
            matching(word, RULES)
        return found

    return Settings(
        select=_optional(table, "select", words),
        extend_select=_optional(table, "extend-select", words) or (),
        ignore=_optional(table, "ignore", words),
        fail_on=_optional(table, "fail-on", lambda value, key: _one_of(value, key, get_args(FailOn))),
        require_data=_optional(table, "require-data", _flag),
        target=_optional(table, "target", lambda value, key: _one_of(value, key, get_args(Target))),
        per_file_ignores=_each(table, "per-file-ignores", words),
        per_layer_ignores=_each(table, "per-layer-ignores", words),
        limits=_limits(_table(table.get("rules", {}), "rules")),
        models=_each(table, "models", lambda value, key: _data(_table(value, key), key, folder, allow_code)),
    )


def _optional(table: Mapping[str, Any], key: str, read: Callable[[Any, str], T]) -> T | None:
    return read(table[key], key) if key in table else None


def _each(table: Mapping[str, Any], key: str, read: Callable[[Any, str], T]) -> dict[str, T]:
    own = _table(table.get(key, {}), key)
    return {name: read(value, f'{key}."{name}"') for name, value in own.items()}


def _limits(table: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    limits: dict[str, Mapping[str, float]] = {}
    for word, value in table.items():
        rule, own = find(word, RULES), _table(value, f"rules.{word}")
        with_limits(rule, own)
        limits[rule.id] = dict(own)
    return limits


def _data(table: Mapping[str, Any], where: str, folder: Path, allow_code: bool) -> DataSettings:
    readers: dict[str, Callable[[Any, str], Any]] = {
        "data": lambda value, key: tuple(from_folder(spec, folder) for spec in _one_or_more(value, key)),
        "train-data": lambda value, key: tuple(from_folder(spec, folder) for spec in _one_or_more(value, key)),
        "reference": lambda value, key: from_folder(_string(value, key), folder),
        "preprocess": _string,
        "batch-size": _integer,
        "max-samples": _integer,
        "seed": _integer,
        "resize": _size,
        "crop": _size,
        "grayscale": _flag,
        "input-shape": _one_or_more,
        "serve-batch": _integer,
        "in-order": _flag,
        "input-axis": _one_or_more,
        "const": _one_or_more,
        "state": _one_or_more,
    }
    _only(table, tuple(readers), where)
    said = {key: readers[key](value, f"{where}.{key}") for key, value in table.items()}
    settings = DataSettings(
        **{RENAMED.get(key, key.replace("-", "_")): value for key, value in said.items()},
        allow_code=allow_code if "data" in said or "train-data" in said else None,
    )
    settings.options()
    return settings


def _only(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            place = f" in {where}" if where else ""
            raise UsageError(f"unknown key {key!r}{place}{nearest(key, known)}")


def _table(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} must be a table, not {value!r}")
    return value


def _string(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a string, not {value!r}")
    return value


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"{key} must be a list of strings, not {value!r}")
    return tuple(value)


def _one_or_more(value: Any, key: str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else _strings(value, key)


def _integer(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{key} must be a whole number of 0 or more, not {value!r}")
    return value


def _flag(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{key} must be true or false, not {value!r}")
    return value


def _size(value: Any, key: str) -> int | tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        return _integer(value[0], key), _integer(value[1], key)
    return _integer(value, f"{key} (one size, or [height, width])")


def _one_of(value: Any, key: str, choices: Sequence[Any]) -> Any:
    if value not in choices:
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise UsageError(f"{key} must be one of {', '.join(choices)}, not {value!r}{near}")
    return value
