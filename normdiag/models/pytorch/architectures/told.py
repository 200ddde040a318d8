"""Which of several architectures with the same tensors a file means, by what it says beside them, and by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdiag.models.pytorch.architectures.build import build_empty, published_files
from normdiag.models.pytorch.architectures.match import Match, arguments_for
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.staticfile import ArchitectureHints

Functions = tuple[tuple[str, ...], ...]
BY_FILE_NAME = "the file's name"
# A file in the hub's cache lies in models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/REVISION.
_CACHED = "models--"


@dataclass(frozen=True)
class ToldArchitecture:
    """The functions that are left, and what they were told by, in words; `by_name`: by nothing but the file's name."""

    functions: Functions
    told_by: tuple[str, ...] = ()
    by_name: bool = False


def told_architecture(
    match: Match, hints: ArchitectureHints, config: Mapping[str, Any] | None, path: Path
) -> ToldArchitecture:
    """The functions of the match that nothing speaks against; all of them where two pieces of evidence contradict.

    The modules that the file lists must be all of an architecture's. Names count where they are those of one of the
    architectures: in config.json, in the checkpoint, and in the file's name or its folder in the hub's cache.
    """
    functions, told_by, by_name = match.functions, [], False
    for how, kept in _evidence(match, hints, config, path):
        if not kept:
            continue
        left = tuple(names for names in functions if not set(names).isdisjoint(kept))
        if not left:
            return ToldArchitecture(match.functions)
        if len(left) < len(functions):
            told_by.append(how)
            by_name = how == BY_FILE_NAME
        functions = tuple(tuple(name for name in names if name in kept) or names for names in left)
    return ToldArchitecture(functions, tuple(told_by), by_name)


def _evidence(
    match: Match, hints: ArchitectureHints, config: Mapping[str, Any] | None, path: Path
) -> Iterator[tuple[str, frozenset[str]]]:
    """What each piece of evidence is, and the architectures that it leaves; none where it says nothing."""
    names = tuple(name for group in match.functions for name in group)
    declared = (config or {}).get("architecture")
    yield "its config.json", _named(names, [declared] if isinstance(declared, str) else [])
    yield "a name in the checkpoint", _named(names, hints.names)
    yield "the modules that the file lists", _listing(match, names, hints.modules)
    yield BY_FILE_NAME, _in_file_name(names, path)


def _named(names: Sequence[str], told: Sequence[str]) -> frozenset[str]:
    """The architectures that these texts name, as `timm/resnet18.a1_in1k` or the older `tf_efficientnet_b0_ns`."""
    return frozenset(name for text in told for name in _in_text(names, text.rpartition("/")[2]))


def _listing(match: Match, names: Sequence[str], modules: frozenset[str]) -> frozenset[str]:
    """Those that consist of exactly these modules, in the version that is installed."""
    listed = {path.removeprefix(match.prefix) for path in modules if path.startswith(match.prefix)} - {""}
    return frozenset(name for name in names if listed and listed == _modules_of(match, name))


def _modules_of(match: Match, name: str) -> set[str] | None:
    """The paths of all its modules; None where it cannot be built here."""
    try:
        module = build_empty(name, arguments_for(match, name))
    except Exception:
        return None
    return {path for path, _ in module.named_modules(remove_duplicate=False)} - {""}


def _in_file_name(names: Sequence[str], path: Path) -> frozenset[str]:
    """Those whose trained weights are published under this name, else those that it names, or its folder in a cache."""
    published = frozenset(name for name in names if path.name in _published(name))
    if published:
        return published
    cached = next((part for part in reversed(path.absolute().parts[:-1]) if part.startswith(_CACHED)), "")
    return _in_text(names, f"{path.name} {cached.rpartition('--')[2]}")


def _published(name: str) -> frozenset[str]:
    try:
        return published_files(name)
    except RefusedError:
        return frozenset()


def _in_text(names: Sequence[str], text: str) -> frozenset[str]:
    """The one whose name stands in a text, between signs that are no letters; none where that is not clear.

    Of names that contain each other, the longest. A word that only another architecture's name has speaks against it.
    """
    words = _words(text)
    found = {bare for bare in map(_bare, names) if f"_{'_'.join(_words(bare))}_" in f"_{'_'.join(words)}_"}
    longest = {bare for bare in found if not any(bare != other and bare in other for other in found)}
    if len(longest) != 1:
        return frozenset()
    (chosen,) = longest
    others = {word for name in names for word in _words(_bare(name))} - set(_words(chosen))
    return frozenset(name for name in names if _bare(name) == chosen and others.isdisjoint(words))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def _bare(name: str) -> str:
    """The name in its package, which a variant has from the factory that builds it."""
    return name.split(":")[1]
