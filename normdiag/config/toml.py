"""Reading TOML: whatever is wrong with a file is one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from normdiag.errors import UsageError

# A configuration of this size is none.
MAX_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises UsageError for one that cannot be read or is no TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is larger than any configuration ({MAX_BYTES} bytes)")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, an integer of more digits than Python takes
        raise UsageError(f"{path}: is no valid TOML ({error})") from None
