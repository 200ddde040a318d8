"""Which checkpoints paths and folders stand for, and in which order they were written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normdiag.commands.model_files import find_models
from normdiag.errors import InputError
from normdiag.models.sniff import checkpoint_in

# Lightning writes 'epoch=3-step=1200.ckpt', Hugging Face 'checkpoint-500'; others end in a number.
_STEPS = (re.compile(r"(?:step|iter)[=_-]?(\d+)"), re.compile(r"checkpoint[-_](\d+)"), re.compile(r"(\d+)(?=\D*$)"))


@dataclass(frozen=True)
class Checkpoint:
    """A model file or Hugging Face folder, and the step that its name says."""

    path: Path
    step: int | None


def find_checkpoints(paths: Sequence[str | Path], every: int = 1) -> tuple[Checkpoint, ...]:
    """All that the paths stand for, by step where every name says one, else as they are given; one of each `every`.

    A folder stands for the Hugging Face checkpoints in it (checkpoint-500/), else for the model files below it. The
    last checkpoint is always among those taken. Raises InputError for a folder without any.
    """
    found = [Checkpoint(path, _step(path.name)) for each in paths for path in _inside(Path(each))]
    if len({each.path for each in found}) < len(found):
        found = list({each.path: each for each in found}.values())
    if all(each.step is not None for each in found):
        found.sort(key=lambda each: each.step or 0)
    taken = found[::every]
    return tuple(taken if taken[-1:] == found[-1:] else [*taken, *found[-1:]])


def _inside(path: Path) -> list[Path]:
    if not path.is_dir() or checkpoint_in(path):
        return [path]
    folders = sorted(each for each in path.iterdir() if each.is_dir() and checkpoint_in(each))
    found = folders or [Path(file) for file in find_models([path]).files]
    if not found:
        raise InputError(f"{path}: holds no checkpoint")
    return found


def _step(name: str) -> int | None:
    stem = re.sub(r"(?:\.(?:ckpt|pth|pt|pt2|bin|safetensors|onnx|tar))+$", "", name)
    matches = (pattern.search(stem) for pattern in _STEPS)
    return next((int(match[1]) for match in matches if match), None)
