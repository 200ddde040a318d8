"""The data of a model and how it is read, as far as a file or flags say so."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from normdiag.data import AUTO, DataOptions
from normdiag.data.options import Size
from normdiag.data.recipe import parse_recipe
from normdiag.data.specs import exists, parse_spec
from normdiag.errors import InputError, UsageError


@dataclass(frozen=True)
class DataSettings:
    """Data specifications, the members of DataOptions, and the batch size served; None for what is not said.

    `train_data` is what the model was trained on, `in_order` the opposite of DataOptions.shuffled,
    `reference` the file of a profile to compare with.

    `allow_code` belongs to `data`: False where a file names it.
    """

    data: tuple[str, ...] | None = None
    preprocess: str | None = None
    batch_size: int | None = None
    max_samples: int | None = None
    seed: int | None = None
    resize: Size | None = None
    crop: Size | None = None
    grayscale: bool | None = None
    input_shapes: tuple[str, ...] | None = None
    serve_batch: int | None = None
    in_order: bool | None = None
    train_data: tuple[str, ...] | None = None
    reference: str | None = None
    allow_code: bool | None = None
    input_axes: tuple[str, ...] | None = None
    constants: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None

    def over(self, other: DataSettings) -> DataSettings:
        """What these settings say and, where they are silent, the others."""
        origin = {} if self.data is None else {"allow_code": None}
        return replace(other, **{**origin, **self.said()})

    def said(self) -> dict[str, Any]:
        """The members that are said."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def options(self) -> DataOptions:
        """How to read the data, with the defaults for what is not said. Raises UsageError for what cannot be."""
        if self.serve_batch is not None and self.serve_batch < 1:
            raise UsageError(f"--serve-batch must be at least 1, not {self.serve_batch}")
        if self.preprocess not in (None, AUTO):
            parse_recipe(self.preprocess)
        others = ("data", "serve_batch", "in_order", "train_data", "reference")
        said = {name: value for name, value in self.said().items() if name not in others}
        return DataOptions(**said, shuffled=None if self.in_order is None else not self.in_order)


def from_folder(spec: str, folder: Path, to: Path = Path()) -> str:
    """A data specification that is meant from `folder`, as it reads from the folder `to`, here the current one."""
    name, equals, target = spec.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name) or exists(str(folder / spec)):
        name, equals, target = "", "", spec
    if not target or target == "random" or Path(target).is_absolute() or _is_module(target):
        return spec
    return f"{name}{equals}{os.path.relpath(folder / target, to)}"


def _is_module(target: str) -> bool:
    """Whether it is `package.module:name`, which is imported from wherever it is."""
    try:
        return parse_spec(target).kind == "code" and ".py:" not in target.lower()
    except InputError:
        return False
