"""Of which architecture weights are, where several have the same tensors: what a file tells, and how often rightly.

Each architecture of torchvision and timm that is known here, its weights kept in several ways. Prints the table of
docs/benchmarks.md. Needs torchvision and timm: `python -m benchmarks.known_weights`.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import nn

from normdiag.models.pytorch.architectures.build import build_empty, published_files
from normdiag.models.pytorch.architectures.match import INDEX, Match, arguments_for
from normdiag.models.pytorch.architectures.told import Functions, told_architecture
from normdiag.models.static.staticfile import ArchitectureHints

Build = Callable[[str, Mapping[str, Any]], nn.Module]
PLAIN = Path("model.pt")


def main() -> None:
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    build = _once(build_empty)
    with patch(f"{told_architecture.__module__}.build_empty", build):
        for functions in _known():
            for name in (each for names in functions for each in names):
                for how, outcome in _outcomes(name, functions, build):
                    counts[how][outcome] += 1
    print("| kept as | files | right | asked | wrong |\n|---|---|---|---|---|")
    for how, seen in counts.items():
        total = sum(seen.values())
        share = f"{seen['right']} ({seen['right'] / total:.1%})"
        print(f"| {how} | {total} | {share} | {seen['asked']} | {seen['wrong']} |")


def _known() -> Iterator[Functions]:
    """Of all architectures in the index those with the same tensors, as the functions that they compute."""
    for alike in json.loads(INDEX.read_text())["names"].values():
        for variant in alike:
            yield from (tuple(map(tuple, functions)) for functions in variant["shapes"].values())


def _outcomes(name: str, functions: Functions, build: Build) -> Iterator[tuple[str, str]]:
    """What is told of the architecture, by way in which its weights are kept."""
    if len(functions) == 1:
        yield from ((how, "right") for how, *_ in _ways(name, frozenset()))
        return
    match = Match(functions, "", None, None, 0)
    module = build(name, arguments_for(match, name))
    modules = frozenset(path for path, _ in module.named_modules(remove_duplicate=False))
    for how, hints, path in _ways(name, modules):
        left = told_architecture(match, hints, None, path).functions
        same = next(names for names in functions if name in names)
        yield how, "asked" if len(left) > 1 else "right" if set(left[0]) <= set(same) else "wrong"


def _once(build: Build) -> Build:
    """Each architecture is built once."""
    built: dict[str, nn.Module] = {}

    def remembered(name: str, arguments: Mapping[str, Any]) -> nn.Module:
        key = f"{name} {dict(arguments)}"
        if key not in built:
            built[key] = build(name, arguments)
        return built[key]

    return remembered


def _ways(name: str, modules: frozenset[str]) -> Iterator[tuple[str, ArchitectureHints, Path]]:
    bare = name.split(":")[1]
    nothing = ArchitectureHints()
    yield "tensors alone, as model.safetensors", nothing, PLAIN
    yield "`torch.save(net.state_dict(), 'model.pt')`", ArchitectureHints(modules), PLAIN
    yield "checkpoint with the name in `arch` or `args`", ArchitectureHints(modules, (bare,)), PLAIN
    yield "named as its architecture", nothing, Path(f"{bare}.pth")
    for path in _published(name):
        yield "published, under the name that downloads have", nothing, path


def _published(name: str) -> Iterator[Path]:
    """The names of files with trained weights in the caches that downloads are kept in."""
    yield from map(Path, sorted(published_files(name)))
    package, bare = name.split(":")[:2]
    if package == "timm":
        import timm

        for tag in timm.list_pretrained(f"{bare}.*"):
            yield Path(f"models--timm--{tag}/snapshots/0/model.safetensors")


if __name__ == "__main__":
    main()
