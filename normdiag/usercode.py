"""Importing the user's own Python, named as `pkg.module:name` or `file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from normdiag.errors import InputError, NormdiagError, UsageError
from normdiag.extras import missing_torch_hint

PACKAGE = Path(__file__).resolve().parent


def load_object(target: str, option: str) -> Any:
    """What `target` names. The current folder, or the file's, is importable from then on, as under `python file.py`.

    Raises UsageError for a target of another form, InputError where it cannot be imported or does not exist, with the
    `option` that asked for it and the user's own error.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise UsageError(f"{option} {target}: give it as file.py:name or package.module:name")
    found: Any = _load_file(Path(place), option) if place.lower().endswith(".py") else _load_module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{place} has no {name!r} (wanted by {option} {target}){hint}")
        found = getattr(found, part)
    return found


@contextmanager
def user_code(what: str, failure: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line: what, its type, message and place."""
    try:
        yield
    except NormdiagError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:300]
        hint = missing_torch_hint(error)
        raise InputError(f"{what} {failure}: {type(error).__name__}: {reason}{_place(error)}{hint}") from error


def make_importable(folder: Path) -> None:
    """Put the folder on sys.path for good, as `python file.py` does: code imports lazily while it runs."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _place(error: BaseException) -> str:
    """Where in the user's own code it was raised, in brackets; empty where that is in none of it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not each.filename.startswith("<") and PACKAGE not in Path(each.filename).parents]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _load_module(name: str) -> ModuleType:
    make_importable(Path.cwd())
    with user_code(name, "cannot be imported"):
        return importlib.import_module(name)


def _load_file(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path} (wanted by {option})")
    make_importable(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"normdiag_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickled workers look the module up
    with user_code(str(path), "cannot be imported"):
        spec.loader.exec_module(module)
    return module
