"""Looking at a model in training: callbacks of Lightning and Hugging Face's Trainer, and `Watch` for other loops.

Each looks at the model every so many steps and at the end, on batches that are held for it, and leaves everything as it
was: weights, buffers, flags and random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normdiag.callbacks.hugging_face import HuggingFaceCallback
    from normdiag.callbacks.lightning import LightningCallback
    from normdiag.callbacks.non_finite import NonFiniteError
    from normdiag.callbacks.watch import Watch

__all__ = ["HuggingFaceCallback", "LightningCallback", "NonFiniteError", "Watch"]

_HOMES = {
    "HuggingFaceCallback": "normdiag.callbacks.hugging_face",
    "LightningCallback": "normdiag.callbacks.lightning",
    "NonFiniteError": "normdiag.callbacks.non_finite",
    "Watch": "normdiag.callbacks.watch",
}


def __getattr__(name: str) -> Any:
    """Import the framework of the callback that is asked for, and no other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
