"""onnxruntime, imported when it is needed and not before."""

from __future__ import annotations

import os
from typing import Any


def import_onnxruntime() -> Any:
    """The module, imported without its telemetry."""
    # Without this, onnxruntime writes a device id into the user's home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
