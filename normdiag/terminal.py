"""What stdout can show: how wide it is, whether in colour, and whether in more than ASCII."""

from __future__ import annotations

import os
import shutil
import sys

# For output that nobody looks at in a terminal of known width.
DEFAULT_WIDTH = 100
NEEDED = "±…·→–✗─"


def terminal_width() -> int:
    """COLUMNS, else the terminal's width, else 100."""
    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def wants_color(choice: bool | None) -> bool:
    """The user's choice, else NO_COLOR (https://no-color.org), else whether stdout is a terminal that has colour."""
    if choice is not None:
        return choice
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def is_ascii_only() -> bool:
    """Whether stdout cannot show the signs that the text uses."""
    try:
        NEEDED.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False
