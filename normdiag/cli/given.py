"""What a configuration file and the flags over it amount to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.errors import UsageError

if TYPE_CHECKING:
    from normdiag.config import Config, Settings


def configuration(flags: Settings, file: Path | None, *, none: bool, allow_code: bool = False) -> Config:
    """What a configuration file and the flags over it amount to: the file given, else the nearest one upwards.

    With `none` no file is read; with `allow_code` the file may name code as data. Raises UsageError for what cannot be.
    """
    from normdiag.config import Config, merge, read_config, read_config_file

    if file is not None and none:
        raise UsageError("--config and --no-config contradict each other")
    if none:
        read = Config(folder=Path.cwd())
    elif file is None:
        read = read_config(Path.cwd(), allow_code=allow_code)
    else:
        read = read_config_file(file, allow_code=allow_code)
    config = merge(read, flags)
    config.rules()  # raises for rules that do not exist
    config.data.options()  # and for what no data could satisfy
    return config
