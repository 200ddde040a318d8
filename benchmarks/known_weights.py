"""Of which architecture weights are, where several have the same tensors: what a file tells, and how often rightly.

Each architecture of torchvision and timm that is known here, its weights kept in several ways. Prints the table of
docs/benchmarks.md. Needs torchvision and timm: `python -m benchmarks.known_weights`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from normdiag.models.pytorch.architectures.build import arguments_of, build_empty, listed_architectures
from normdiag.models.pytorch.architectures.match import Match, match_weights
from normdiag.models.pytorch.architectures.told import told_architecture
from normdiag.models.static.staticfile import ArchitectureHints

PLAIN = Path("model.pt")


def main() -> None:
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in listed_architectures():
        module = build_empty(name, arguments_of(name, None, None))
        match = match_weights({key: tuple(value.shape) for key, value in module.state_dict().items()})
        if match is None:
            counts["weights alone"]["unknown"] += 1
            continue
        modules = frozenset(path for path, _ in module.named_modules(remove_duplicate=False))
        for how, hints, config, path in _ways(name, modules):
            counts[how][_outcome(match, name, hints, config, path)] += 1
    print("| kept as | files | right | asked | wrong |\n|---|---|---|---|---|")
    for how, seen in counts.items():
        total = sum(seen.values())
        print(
            f"| {how} | {total} | {seen['right']} ({seen['right'] / total:.1%}) | {seen['asked']} | {seen['wrong']} |"
        )


def _ways(name: str, modules: frozenset[str]) -> Iterator[tuple[str, ArchitectureHints, dict[str, Any] | None, Path]]:
    bare = name.split(":")[1]
    nothing = ArchitectureHints()
    yield "tensors alone, as model.safetensors", nothing, None, PLAIN
    yield "`torch.save(net.state_dict(), 'model.pt')`", ArchitectureHints(modules), None, PLAIN
    yield "checkpoint with the name in `arch` or `args`", ArchitectureHints(modules, (bare,)), None, PLAIN
    yield "named as its architecture", nothing, None, Path(f"{bare}.pth")
    for path in _published(name):
        yield "published, under the name that downloads have", nothing, None, path


def _published(name: str) -> Iterator[Path]:
    """The names of files with trained weights in the caches that downloads are kept in."""
    package, bare = name.split(":")[:2]
    if package == "timm":
        import timm

        for tag in timm.list_pretrained(f"{bare}.*"):
            config = timm.get_pretrained_cfg(tag)
            if config is not None and config.url:
                yield Path(config.url.rpartition("/")[2])
            yield Path(f"models--timm--{tag}/snapshots/0/model.safetensors")
    elif name.endswith(":transform_input") or bare not in ("googlenet", "inception_v3"):  # these prepare their input
        import torchvision

        with contextlib.suppress(ValueError):
            for weights in torchvision.models.get_model_weights(bare):
                yield Path(weights.url.rpartition("/")[2])


def _outcome(match: Match, name: str, hints: ArchitectureHints, config: dict[str, Any] | None, path: Path) -> str:
    if len(match.functions) == 1:
        return "right" if name in match.functions[0] else "wrong"
    told = told_architecture(match, hints, config, path).functions
    return "asked" if len(told) > 1 else "right" if name in told[0] else "wrong"


if __name__ == "__main__":
    main()
