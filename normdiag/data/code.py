"""Data from the user's own Python: `pkg.module:callable` or `file.py:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from normdiag.data.feed import Feed
from normdiag.data.items import is_array, iterate
from normdiag.errors import InputError, NormdiagError
from normdiag.records import Batch


def code_feed(target: str, inputs: Sequence[str] = (), bound: str | None = None) -> Feed:
    """A feed of what a function returns, a generator function yields, or an iterable object gives.

    The function takes no arguments and is called each time the data is read; an iterable is iterated again.
    The batches keep their own sizes; only a whole data set (an array, a dict of arrays) is cut.
    Raises InputError where the code cannot be imported or is no such thing; what the code raises later becomes one too.
    """
    found = load_object(target)
    if isinstance(found, Iterator):
        raise InputError(f"--data {target} is an iterator that can be read once only: give the function that makes it")
    if not callable(found) and not _is_data(found):
        raise InputError(f"--data {target} is a {type(found).__name__}, neither a function nor an iterable of batches")

    def read(batch_size: int) -> Iterator[Batch]:
        with _user_code(target, "failed"):
            batches = found if _is_data(found) else found()
            for batch in iterate(batches, batch_size=batch_size, inputs=(bound,) if bound else inputs, source=target):
                yield Batch(batch.arrays, (bound,)) if bound and len(batch.arrays) == 1 else batch

    return Feed(target, "code", read)


def load_object(target: str) -> Any:
    """Import what `pkg.module:name` or `file.py:name` says. The current folder, or the file's, is importable meanwhile.

    Raises InputError.
    """
    place, _, name = target.rpartition(":")
    found: Any = _load_file(Path(place)) if place.lower().endswith(".py") else _load_module(place)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise InputError(f"{place} has no {name!r} (wanted by --data {target})") from error
    return found


def _load_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    with _user_code(name, "cannot be imported"):
        return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path} (wanted by --data)")
    _make_importable(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"normdiag_data_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickled workers look the module up
    with _user_code(str(path), "cannot be imported"):
        spec.loader.exec_module(module)
    return module


def _make_importable(folder: Path) -> None:
    """Put the folder on sys.path for good, as `python file.py` does: code imports lazily while it runs."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _is_data(found: Any) -> bool:
    if isinstance(found, type):
        return False
    return isinstance(found, Mapping) or is_array(found) or hasattr(found, "__iter__") or hasattr(found, "__getitem__")


@contextmanager
def _user_code(what: str, failure: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line: what, its type, message and place."""
    try:
        yield
    except NormdiagError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:300]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise InputError(f"{what} {failure}: {type(error).__name__}: {reason} ({where})") from error
