"""Files that the user trusts: torch loads them, and what they ask for runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from normdiag.errors import InputError
from normdiag.models.sniff import Format
from normdiag.usercode import make_importable

OF_WEIGHTS = ("safetensors", "hugging-face", "torch-distributed")
WEIGHTS_ONLY = (
    "holds weights alone, which --trust cannot run: give the code that builds the model with --arch net.py:Net"
)


def load_trusted(path: Path, fmt: Format, key: str | None = None) -> nn.Module:
    """Load a whole pickled module, a TorchScript archive or a torch.export program on the CPU. RUNS CODE FROM THE FILE.

    `key` chooses the module in a pickled dict. Raises InputError where torch cannot load it or it holds no module.
    """
    if fmt in OF_WEIGHTS:
        raise InputError(f"{path}: {WEIGHTS_ONLY}")
    make_importable(Path.cwd())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = _load(path, fmt)
    except (ModuleNotFoundError, AttributeError) as error:
        reason = f"{error}; run from the folder that holds the model's code, or put that on PYTHONPATH"
        raise InputError(f"{path}: the model's class cannot be imported: {reason}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path}: torch cannot load it: {reason}") from error
    return _module_in(loaded, path, key)


def _load(path: Path, fmt: Format) -> Any:
    if fmt == "torchscript":
        return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    if fmt == "torch-export":
        return torch.export.load(path).module()
    return torch.load(path, map_location="cpu", weights_only=False)


def _module_in(loaded: Any, path: Path, key: str | None) -> nn.Module:
    """The module itself, or the only one in a dict, or the one under `key`."""
    if isinstance(loaded, nn.Module):
        return loaded
    found = {}
    if isinstance(loaded, Mapping):
        found = {str(name): value for name, value in loaded.items() if isinstance(value, nn.Module)}
    if key is not None and key in found:
        return found[key]
    if not found:
        raise InputError(f"{path}: {WEIGHTS_ONLY}")
    if key is not None or len(found) > 1:
        raise InputError(f"{path}: holds modules under {', '.join(sorted(found))}; choose one with --key")
    return next(iter(found.values()))
