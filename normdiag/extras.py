"""What `normdiag[torch]` brings: one clear line where it is missing, broken or too old for what was asked."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from normdiag.errors import InputError, UsageError

INSTALL = 'pip install "normdiag[torch]"'
# The oldest torch that the tests pass with, and the oldest whose torch.export gives the programs that folding reads.
OLDEST = (2, 4)
OLDEST_EXPORT = (2, 6)


def require_torch(why: str) -> None:
    """Raise UsageError where torch is not installed or too old, InputError where it cannot be imported.

    `why` begins the line: what needs it, with its verb ("--arch needs").
    """
    _require_version(why, OLDEST)


def require_export(why: str) -> None:
    """The same for what goes by torch.export, which needs a newer torch."""
    _require_version(why, OLDEST_EXPORT)


def require_onnx_export(why: str) -> None:
    """The same for torch.onnx.export, which needs onnx-ir and onnxscript beside a torch that exports."""
    require_export(why)
    for module, package in (("onnx_ir", "onnx-ir"), ("onnxscript", "onnxscript")):
        if find_spec(module) is None:
            raise UsageError(f"{why} {package}, which is not installed: {INSTALL}")


def missing_torch_hint(error: BaseException) -> str:
    """What to add to the error of a user's own code that imports torch where there is none; else nothing."""
    return f"; {INSTALL} brings it" if isinstance(error, ModuleNotFoundError) and error.name == "torch" else ""


def gone(package: str, name: str) -> InputError:
    """The error for a private function of a package that its installed version no longer has."""
    version = getattr(import_module(package), "__version__", "installed here")
    return InputError(
        f"{package} {version} no longer has {name}, which normdiag relies on; upgrade normdiag, or install an older "
        f"{package} (docs/compatibility.md has the versions that work)"
    )


def _require_version(why: str, oldest: tuple[int, int]) -> None:
    if find_spec("torch") is None:
        raise UsageError(f"{why} torch, which is not installed: {INSTALL}")
    try:
        torch: Any = import_module("torch")
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{why} torch, and the one installed here cannot be imported: {reason}") from error
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found and (int(found[1]), int(found[2])) < oldest:
        wanted = ".".join(map(str, oldest))
        upgrade = f'pip install -U "torch>={wanted}"'
        raise UsageError(f"{why} torch {wanted} or newer, and {torch.__version__} is installed: {upgrade}")
