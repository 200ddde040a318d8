"""What users allow for themselves, in their own configuration folder: nothing that lies beside models can say it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdiag.config.toml import read_toml
from normdiag.errors import UsageError

ALLOW = "allow-config-code"
MODULES = "allow-modules"


@dataclass(frozen=True)
class OwnConfig:
    """`code_folders`: configuration files in them, or below, may name code as data.

    `modules`: beside those of torch.nn, torchvision and timm, a pickled module may be rebuilt from their classes.
    """

    code_folders: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()

    def allows_code(self, folder: Path) -> bool:
        """Whether a configuration file in this folder may name code."""
        real = folder.resolve()
        return any(real == each or each in real.parents for each in self.code_folders)


def own_config_path() -> Path | None:
    """$XDG_CONFIG_HOME/normdiag/config.toml, or the same in ~/.config; None where there is no home."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    except RuntimeError:  # a user without a home
        return None
    return folder / "normdiag" / "config.toml"


def read_own_config() -> OwnConfig:
    """What the user's own file says; nothing where there is none. Raises UsageError for what cannot be."""
    path = own_config_path()
    if path is None or not path.is_file():
        return OwnConfig()
    return _parsed(read_toml(path), path)


def _parsed(table: Mapping[str, Any], path: Path) -> OwnConfig:
    unknown = [key for key in table if key not in (ALLOW, MODULES)]
    if unknown:
        raise UsageError(f"{path}: unknown key {unknown[0]!r}; what may stand here is {ALLOW} and {MODULES}")
    folders = _texts(table, ALLOW, "folders whose configuration may name code", path)
    modules = _texts(table, MODULES, "Python modules whose classes models may be rebuilt from", path)
    homes = [Path(each).expanduser() for each in folders]
    relative = [each for each, home in zip(folders, homes, strict=True) if not home.is_absolute()]
    if relative:
        raise UsageError(f"{path}: {ALLOW}: {relative[0]!r} is not absolute: any folder could be meant")
    odd = [each for each in modules if not all(part.isidentifier() for part in each.split("."))]
    if odd:
        raise UsageError(f"{path}: {MODULES}: {odd[0]!r} is not the name of a module")
    return OwnConfig(tuple(each.resolve() for each in homes), tuple(modules))


def _texts(table: Mapping[str, Any], key: str, what: str, path: Path) -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UsageError(f"{path}: {key} must be a list of {what}")
    return found
