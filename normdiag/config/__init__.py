"""What the user has configured: `[tool.normdiag]` in pyproject.toml or normdiag.toml, and flags over it."""

from normdiag.config.config import Config, Settings, merge
from normdiag.config.data import DataSettings
from normdiag.config.files import read_config, read_config_file
from normdiag.config.parse import parse
from normdiag.config.render import to_dict, to_toml

__all__ = [
    "Config",
    "DataSettings",
    "Settings",
    "merge",
    "parse",
    "read_config",
    "read_config_file",
    "to_dict",
    "to_toml",
]
