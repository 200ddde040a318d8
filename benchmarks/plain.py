"""What the plain commands run: `inspect MODEL --data random` and `fold MODEL -o folded.onnx`, with nothing else.

Models of torchvision and timm, drawn with a seed, are saved in six forms, and each form is given to both commands.
Prints the table of docs/benchmarks.md. Needs torchvision and timm: `python -m benchmarks.plain --models 30`, or in
pieces (`--models 10`, `--models 10 --skip 10`, ...), of whose lines `--add LOG ...` makes one table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, product, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import nn

from normdiag.cli.app import main as normdiag
from normdiag.models.pytorch.architectures.build import arguments_of, build_architecture, listed_architectures

FORMS = ("whole module", ".pt2", "state dict", "safetensors", "DataParallel checkpoint", "TorchScript")
VERBS = ("inspect", "fold")
LARGEST = 5_000_000  # parameters
SAMPLES = "4"
SEPARATOR = " | "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--skip", type=int, default=0, help="models at the start of the order to leave out")
    parser.add_argument("--add", nargs="*", type=Path, default=(), metavar="LOG", help="what earlier runs printed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forms", nargs="*", default=FORMS, choices=FORMS)
    parser.add_argument("--verbs", nargs="*", default=VERBS, choices=VERBS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [line for log in options.add for line in log.read_text().splitlines()]
    models = 0 if lines else options.models
    for number, (name, module) in enumerate(_drawn(options.skip, models, options.seed), options.skip + 1):
        with tempfile.TemporaryDirectory() as folder:
            for form, path in _saved(name, module, Path(folder), options.forms):
                for verb in options.verbs:
                    started = time.perf_counter()
                    outcome = _run(verb, path)[:300]
                    seconds = time.perf_counter() - started
                    lines.append(SEPARATOR.join((f"{number} {name}", form, verb, f"{seconds:.1f} s", outcome)))
                    print(lines[-1], flush=True)
    print(_table(lines))


def _drawn(skip: int, count: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Models in a seeded order that are small enough for many of them: of each package in turn, while it has some."""
    names = [name for name in listed_architectures() if name.count(":") == 1]
    random.Random(seed).shuffle(names)
    packages = [[name for name in names if name.startswith(f"{package}:")] for package in ("torchvision", "timm")]
    small = [filter(_is_small, each) for each in packages]
    for name in islice((name for pair in zip_longest(*small) for name in pair if name), skip, skip + count):
        torch.manual_seed(seed)
        yield name, build_architecture(name, arguments_of(name, None, None))


def _is_small(name: str) -> bool:
    """Whether it can be built, with few parameters."""
    with contextlib.suppress(Exception), torch.device("meta"):
        module = build_architecture(name, arguments_of(name, None, None))
        return sum(each.numel() for each in module.parameters()) <= LARGEST
    return False


def _saved(name: str, module: nn.Module, folder: Path, forms: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The model in each form that torch can write it in."""
    from safetensors.torch import save_model

    x = torch.randn(2, *_shape(module))
    writers: dict[str, Callable[[Path], Any]] = {
        "whole module": lambda path: torch.save(module, path),
        ".pt2": lambda path: torch.export.save(
            torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), path
        ),
        "state dict": lambda path: torch.save(module.state_dict(), path),
        "safetensors": lambda path: save_model(module, str(path)),
        "DataParallel checkpoint": lambda path: torch.save(
            {"state_dict": {f"module.{key}": each for key, each in module.state_dict().items()}, "epoch": 3}, path
        ),
        "TorchScript": lambda path: torch.jit.save(torch.jit.trace(module, x), str(path)),
    }
    for form in forms:
        path = folder / f"model{FORMS.index(form)}{'.pt2' if form == '.pt2' else '.pt'}"
        try:
            with contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
                writers[form](path)
        except Exception as error:
            print(f"{name} | {form} | torch cannot write it: {type(error).__name__}")
            continue
        yield form, path


def _shape(module: nn.Module) -> tuple[int, ...]:
    config = getattr(module, "pretrained_cfg", None) or {}
    if any(isinstance(each, nn.Conv3d) for each in module.modules()):
        return (3, 16, 112, 112)
    return tuple(config.get("input_size", (3, 224, 224))) if isinstance(config, dict) else (3, 224, 224)


def _run(verb: str, path: Path) -> str:
    """'ran', or what the command says instead."""
    target = path.with_name("folded.onnx")
    given = ["--data", "random", "--max-samples", SAMPLES] if verb == "inspect" else ["-o", str(target), "--force"]
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            before, sys.argv = sys.argv, ["normdiag", verb, str(path), "--quiet", *given]
            try:
                normdiag()
            finally:
                sys.argv = before
    except SystemExit as stop:
        code = stop.code
    text = " ".join((err.getvalue() or out.getvalue()).split())
    if verb == "fold":
        return "ran" if code == 0 and target.exists() else text
    return "ran" if code in (0, 1) and "RANDOM DATA" in out.getvalue() else " ".join((out.getvalue() + text).split())


def _kind(outcome: str) -> str:
    """The reason without names and numbers."""
    known = ("fit", "which is neither data", "set in the file", "not among the operators", "no architecture")
    found = next((each for each in known if each in outcome), None)
    return found or re.sub(r"[\d./']+", "#", outcome)[-60:]


def _table(lines: Iterable[str]) -> str:
    """Of the lines that runs print; what else they print is passed over."""
    ran: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in lines:
        _, form, verb, _, outcome = (*line.split(SEPARATOR, 4), *[""] * 4)[:5]
        if form in FORMS:
            ran[form, verb][outcome if outcome == "ran" else _kind(outcome)] += 1
    rows = ["| form | command | models | ran | what the others needed |", "|---|---|---|---|---|"]
    for form, verb in product(FORMS, VERBS):
        counts = ran.get((form, verb), Counter())
        total = sum(counts.values())
        rest = "; ".join(f"{count}x {kind}" for kind, count in counts.items() if kind != "ran")
        share = f"{counts['ran']} ({counts['ran'] / total:.0%})" if total else ""
        rows += [f"| {form} | {verb} | {total} | {share} | {rest or '-'} |"] if total else []
    return "\n".join(rows)


if __name__ == "__main__":
    main()
