"""Write the index of architectures anew: `python -m normdiag.models.pytorch.architectures.make_index`.

Each architecture of the installed torchvision and timm is built twice without weights, with two numbers of classes and
channels, to see which axes these set. Those whose names and shapes agree are compared: where classes and attributes are
the same, built for images of the same size, or seeded weights give the same outputs, they are one function.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.models.pytorch.architectures.build import (
    arguments_of,
    build_architecture,
    build_empty,
    listed_architectures,
)
from normdiag.models.pytorch.architectures.fingerprint import names_hash, shapes_hash

INDEX = Path(__file__).with_name("index.json")
CLASSES, CHANNELS = 7, 5
LARGEST = 150_000_000  # parameters; larger ones are compared by their attributes alone
SMALL, WIDE = (3, 96, 96), (3, 96, 160)
SAME = 1e-9  # of the largest output, in float64: position tables of two sizes can differ by 5e-6
Functions = Callable[[list[str]], list[list[str]]]
Outputs = tuple[Tensor | None, Tensor | None]
_BOOKKEEPING = frozenset(vars(nn.Module()))
_NO_FUNCTION = ("pretrained_cfg", "default_cfg", "feature_info", "training", "head_hidden_size", "inplace", "momentum")


@dataclass(frozen=True)
class SeenArchitecture:
    """An architecture: the shapes of its tensors, and the axes that the numbers of classes and channels set."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    classes: list[tuple[str, int]]
    channels: list[tuple[str, int]]


def main() -> None:
    """Build, compare, write."""
    warnings.simplefilter("ignore")
    by_names: dict[str, list[SeenArchitecture]] = {}
    names = listed_architectures()
    for number, name in enumerate(names):
        try:
            seen = look_at(name)
            by_names.setdefault(names_hash(seen.shapes), []).append(seen)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}"[:150], file=sys.stderr)
        if number % 100 == 99:
            print(f"{number + 1} of {len(names)}", file=sys.stderr, flush=True)
    write({key: variants(each) for key, each in by_names.items()})


def write(index: Mapping[str, list[dict[str, Any]]]) -> None:
    """The index, a line for each set of names."""
    made_with = {package: version(package) for package in ("torch", "torchvision", "timm")}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(index[key], separators=(',', ':'))}" for key in sorted(index))
    INDEX.write_text(f'{{"made_with": {json.dumps(made_with)}, "names": {{\n{lines}\n}}}}\n')


def look_at(name: str) -> SeenArchitecture:
    """Build it twice. Raises ValueError where its names depend on the number of channels."""
    usual = _shapes(_built(name, None, None))
    other = _shapes(_built(name, CLASSES, CHANNELS))
    if usual.keys() != other.keys():  # built without a head, unless asked for one
        other = _shapes(_built(name, None, CHANNELS))
    if usual.keys() != other.keys():
        raise ValueError("its names depend on the number of channels")
    classes, channels = [], []
    for key, shape in usual.items():
        for axis, pair in enumerate(zip(shape, other[key], strict=True)):
            if pair[0] != pair[1] == CLASSES:
                classes.append((key, axis))
            if pair == (3, CHANNELS):
                channels.append((key, axis))
    return SeenArchitecture(name, usual, classes, channels)


def variants(alike: Sequence[SeenArchitecture], functions: Functions | None = None) -> list[dict[str, Any]]:
    """Architectures with the same names of tensors, by the axes that are open and the shapes of the others.

    torchvision's take three channels alone: they are put beside those of the same shapes that take others.
    """
    same: dict[tuple[str, str], list[SeenArchitecture]] = {}
    for seen in alike:
        same.setdefault((str(seen.classes), shapes_hash(seen.shapes, seen.classes, [])), []).append(seen)
    found: list[dict[str, Any]] = []
    for group in same.values():
        first, channels = group[0], max((each.channels for each in group), key=len)
        variant = next(
            (each for each in found if (each["classes"], each["channels"]) == (first.classes, channels)), None
        )
        if variant is None:
            variant = {"classes": first.classes, "channels": channels, "shapes": {}}
            found.append(variant)
        key = shapes_hash(first.shapes, first.classes, channels)
        variant["shapes"][key] = (functions or functions_of)([each.name for each in group])
    return found


def _built(name: str, classes: int | None, channels: int | None) -> nn.Module:
    return build_empty(name, arguments_of(name, classes, channels))


def _common_arguments(name: str) -> dict[str, Any]:
    """The classes of this one, and the size of its images, with which others are built to be compared with it."""
    size = _size(name)[-1]
    classes = getattr(_built(name, None, None), "num_classes", None)
    return {"img_size": size} | ({} if classes is None else {"num_classes": classes})


def _built_with(name: str, common: Mapping[str, Any]) -> nn.Module:
    """With these arguments, or with those that it takes: many take images of any size."""
    arguments = arguments_of(name, None, None)
    without_size = {key: value for key, value in common.items() if key != "img_size"}
    for given in (common, without_size):
        with contextlib.suppress(TypeError):
            return build_empty(name, {**arguments, **given})
    return build_empty(name, arguments)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def functions_of(names: list[str]) -> list[list[str]]:
    """The names in groups that compute the same, the plainest name of each first."""
    by_structure: dict[str, list[str]] = {}
    common = _common_arguments(names[0]) if len(names) > 1 else {}
    for name in names:
        by_structure.setdefault(_structure(_built_with(name, common)) if common else "", []).append(name)
    firsts = [group[0] for group in by_structure.values()]
    outputs = _outputs(firsts) if len(firsts) > 1 else [(None, None)]
    groups: list[tuple[Outputs, list[str]]] = []
    for group, output in zip(by_structure.values(), outputs, strict=True):
        alike = next((each for values, each in groups if _same(values, output)), None)
        if alike is None:
            groups.append((output, group))
        else:
            alike.extend(group)
    ordered = (sorted(group, key=_plainest) for _, group in groups)
    return sorted(ordered, key=lambda group: _plainest(group[0]))


def _outputs(names: list[str]) -> list[Outputs]:
    """Of all on one square input, a small one where they take it, else the first one's own; and on a wide one."""
    square = [_output(name, SMALL) for name in names]
    if None in square:
        square = [_output(name, _size(names[0])) for name in names]
    return [(each, _output(name, WIDE)) for name, each in zip(names, square, strict=True)]


def _same(one: Outputs, two: Outputs) -> bool:
    """On the square input, and on the wide one unless neither takes it."""
    return _alike(one[0], two[0]) and (one[1] is two[1] is None or _alike(one[1], two[1]))


def _alike(one: Tensor | None, two: Tensor | None) -> bool:
    return one is not None and two is not None and one.shape == two.shape and bool((one - two).abs().max() < SAME)


def _plainest(name: str) -> tuple[int, str]:
    return len(name.partition(":")[2]), name


def _structure(module: nn.Module) -> str:
    """Classes and plain attributes of all modules."""
    lines = (
        f"{path} {type(each).__module__}.{type(each).__qualname__} {_plain(each)}" for path, each in _parts(module)
    )
    return "structure " + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield from module.named_modules()


def _plain(module: nn.Module) -> list[tuple[str, str]]:
    kept = {
        name: value for name, value in vars(module).items() if name not in _BOOKKEEPING and name not in _NO_FUNCTION
    }
    return sorted((name, _told(value)) for name, value in kept.items())


def _told(value: Any) -> str:
    """What an attribute is; of functions and classes their name, without an address."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


def _size(name: str) -> tuple[int, ...]:
    """What the module takes, by its own configuration."""
    module = _built(name, None, None)
    config = getattr(module, "pretrained_cfg", {})
    usual = (3, 8, 112, 112) if any(isinstance(each, nn.Conv3d) for each in module.modules()) else (3, 224, 224)
    return tuple(config.get("input_size", usual))


def _output(name: str, size: tuple[int, ...]) -> Tensor | None:
    """What seeded weights give for a seeded input, by its largest value; None where that cannot be told."""
    if sum(each.numel() for each in _built(name, None, None).parameters()) > LARGEST:
        return None
    module = build_architecture(name, arguments_of(name, None, None))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in sorted(module.state_dict().items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                spread = torch.rand(value.shape, generator=generator)
                fan = max(1, value[0].numel()) if value.dim() > 1 else 1
                value.copy_(
                    0.5 + spread if value.dim() < 2 or key.endswith("var") else (spread - 0.5) * (12 / fan) ** 0.5
                )
    x = torch.randn(1, *size, generator=generator, dtype=torch.float64)
    try:
        with torch.no_grad():
            found = module.double()(x)
    except Exception:
        return None
    found = found.get("out") if isinstance(found, dict) else found
    if not isinstance(found, Tensor) or not bool(found.isfinite().all()) or float(found.std()) == 0.0:
        return None
    return found / found.abs().max()


if __name__ == "__main__":
    main()
