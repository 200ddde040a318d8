"""Which tensors of a checkpoint are the model's: the search, its order of preference, and --key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from normdiag.errors import InputError
from normdiag.models.static.inert import Record, is_unread_tensor, shown
from normdiag.models.static.modules import ModuleTree, is_module, state_of, walk_module
from normdiag.models.static.pickled_numpy import tensor_of
from normdiag.wording import abridged

# Names of the model in a checkpoint, the likeliest first; any other name comes after these.
PREFERRED = (
    "state_dict",
    "model",
    "model_state_dict",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "net",
    "network",
    "module",
    "model_state",
    "weights",
    "params",
)
_MAX_DEPTH = 6
_MAX_ENTRIES = 2_000_000
_MAX_ELEMENTS = 100
_LISTED = 8


@dataclass(frozen=True, eq=False)
class WeightsPlace:
    """A place in a file that holds a model: a dict of tensors or a pickled module, reached by `path`."""

    path: str
    depth: int
    value: Any
    tensors: int

    @property
    def is_module(self) -> bool:
        """Whether it is a pickled module."""
        return isinstance(self.value, Record) and is_module(self.value)


def choose(root: Any, key: str | None, where: str) -> tuple[WeightsPlace, tuple[str, ...]]:
    """The candidate to take out of the object of a file, and notes that say so.

    Raises InputError where there is none, or none under `key`; it then names what there is.
    """
    candidates = find_candidates(root)
    if key is not None:
        return _by_key(candidates, key, where), (f"took the tensors under '{shown(key)}', as asked with --key",)
    if not candidates:
        raise InputError(f"{where}: {_why_none(root)}")
    best = min(candidates, key=_rank)
    others = [f"'{shown(each.path)}'" for each in candidates if each is not best and each.path]
    return best, _notes(best, others)


def _rank(candidate: WeightsPlace) -> tuple[int, int, int, int]:
    first = candidate.path.partition(".")[0]
    preference = PREFERRED.index(first) if first in PREFERRED else len(PREFERRED)
    return bool(candidate.path), preference, candidate.depth, -candidate.tensors


def _notes(best: WeightsPlace, others: list[str]) -> tuple[str, ...]:
    taken = f"took the tensors under '{shown(best.path)}'" if best.path else "took the tensors at the top of the file"
    if not others:
        return (taken,) if best.path else ()
    return (f"{taken}; the file also holds {abridged(others, _LISTED)}: choose with --key",)


def _why_none(root: Any) -> str:
    if tensor_of(root) is not None:
        return "holds a single tensor, not a model"
    if isinstance(root, dict):
        names = [f"'{shown(name)}'" for name in root if isinstance(name, str)][:_LISTED]
        return f"holds no dict of tensors and no module; at its top are {', '.join(names) or 'no named entries'}"
    what = root.cls.path if isinstance(root, Record) else type(root).__name__
    return f"holds no dict of tensors and no module, only {shown(what)}"


def _by_key(candidates: list[WeightsPlace], key: str, where: str) -> WeightsPlace:
    by_path = {candidate.path: candidate for candidate in candidates}
    if key in by_path:
        return by_path[key]
    paths = [path for path in by_path if path]
    near = difflib.get_close_matches(key[:100], [path[:100] for path in paths], 1)
    hint = f"; did you mean '{shown(near[0])}'?" if near else ""
    listed = ", ".join(f"'{shown(path)}'" for path in paths[:_LISTED]) or "nothing that --key could choose"
    raise InputError(f"{where}: no tensors under '{shown(key)}'; there is {listed}{hint}")


def find_candidates(root: Any) -> list[WeightsPlace]:
    """Every dict of tensors and every module, breadth first; optimizer states are left out.

    Linear in the size of the object: every container is entered once, however often it is shared.
    """
    found: list[WeightsPlace] = []
    seen: set[int] = set()
    entries = 0
    level: list[tuple[str, Any]] = [("", root)]
    for depth in range(_MAX_DEPTH):
        below: list[tuple[str, Any]] = []
        for path, value in level:
            if id(value) in seen or entries > _MAX_ENTRIES:
                continue
            seen.add(id(value))
            entries += 1 + _size(value)
            candidate = _candidate(path, depth, value)
            found.extend([candidate] if candidate else [])
            if candidate is None or not candidate.is_module:
                below.extend(_children(path, value))
        level = below
    return found


def _size(value: Any) -> int:
    """How many entries a look at `value` costs; objects may share one huge state."""
    return len(_entries(value)) + (len(state_of(value)) if isinstance(value, Record) else 0)


def _candidate(path: str, depth: int, value: Any) -> WeightsPlace | None:
    if is_module(value):
        return WeightsPlace(path, depth, value, 0)
    entries = _entries(value)
    count = sum(isinstance(name, str) and tensor_of(entry) is not None for name, entry in entries.items())
    return WeightsPlace(path, depth, value, count) if count * 2 > len(entries) else None


def _entries(value: Any) -> Mapping[Any, Any]:
    """The entries of a dict or of a pickled subclass of dict."""
    return value if isinstance(value, dict) else value.items if isinstance(value, Record) else {}


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if _is_optimizer(value):
        return
    prefix = f"{path}." if path else ""
    named: Mapping[Any, Any] = _entries(value)
    if isinstance(value, (list, tuple)):
        named = {str(index): each for index, each in enumerate(value[:_MAX_ELEMENTS])}
    elif isinstance(value, Record):
        named = {**named, **state_of(value)}
    for name, each in named.items():
        if isinstance(name, str) and len(name) < 200 and isinstance(each, (dict, list, tuple, Record)):
            yield prefix + name, each


def _is_optimizer(value: Any) -> bool:
    entries = _entries(value)
    return "param_groups" in entries or (isinstance(value, Record) and value.cls.module.startswith("torch.optim"))


def tree_of(candidate: WeightsPlace) -> ModuleTree:
    """The tensors of a candidate: a pickled module's, or those of a dict by key."""
    if candidate.is_module:
        return walk_module(candidate.value)
    named = [(name, value) for name, value in _entries(candidate.value).items() if isinstance(name, str)]
    return ModuleTree(
        tensors={name: tensor for name, value in named if (tensor := tensor_of(value))},
        unread=[name for name, value in named if is_unread_tensor(value)],
    )
