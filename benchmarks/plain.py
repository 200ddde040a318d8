"""What the plain commands run: `inspect MODEL --data random` and `fold MODEL -o folded.onnx`, with nothing else.

Models of torchvision and timm, drawn with a seed, are saved in six forms, and each form is given to both commands.
Prints the table of docs/benchmarks.md. Needs torchvision and timm: `python -m benchmarks.plain --models 30`.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from normdiag.cli.app import main as normdiag
from normdiag.models.pytorch.architectures.build import arguments_of, build_architecture, listed_architectures

FORMS = ("whole module", ".pt2", "state dict", "safetensors", "DataParallel checkpoint", "TorchScript")
FOLDED = ("whole module", ".pt2", "state dict")
LARGEST = 5_000_000  # parameters
SAMPLES = "4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forms", nargs="*", default=FORMS, choices=FORMS)
    parser.add_argument("--verbs", nargs="*", default=("inspect", "fold"), choices=("inspect", "fold"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ran: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for number, (name, module) in enumerate(_drawn(options.models, options.seed)):
        with tempfile.TemporaryDirectory() as folder:
            for form, path in _saved(name, module, Path(folder), options.forms):
                for verb in options.verbs if form in FOLDED else ("inspect",):
                    started = time.perf_counter()
                    outcome = _run(verb, path)
                    ran[form, verb][outcome if outcome == "ran" else _kind(outcome)] += 1
                    seconds = time.perf_counter() - started
                    print(f"{number + 1} {name} | {form} | {verb} | {seconds:.1f} s | {outcome[:300]}", flush=True)
    print(_table(ran))


def _drawn(count: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Models in a seeded order that are small enough for many of them, half of each package."""
    names = [name for name in listed_architectures() if name.count(":") == 1]
    random.Random(seed).shuffle(names)
    left = {"torchvision": count // 2, "timm": count - count // 2}
    for name in names:
        package = name.partition(":")[0]
        if not left[package]:
            continue
        with contextlib.suppress(Exception):
            torch.manual_seed(seed)
            module = build_architecture(name, arguments_of(name, None, None))
            if sum(each.numel() for each in module.parameters()) <= LARGEST:
                left[package] -= 1
                yield name, module


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


def _table(ran: dict[tuple[str, str], Counter[str]]) -> str:
    lines = ["| form | command | models | ran | what the others needed |", "|---|---|---|---|---|"]
    for form in FORMS:
        for verb in ("inspect", "fold"):
            counts = ran.get((form, verb))
            if counts:
                total = sum(counts.values())
                rest = "; ".join(f"{count}x {kind}" for kind, count in counts.items() if kind != "ran")
                lines.append(
                    f"| {form} | {verb} | {total} | {counts['ran']} ({counts['ran'] / total:.0%}) | {rest or '-'} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
