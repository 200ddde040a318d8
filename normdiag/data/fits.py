"""The size that images of any shape end in, and other ways of coming to it than the one in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normdiag.data.images import upright_size
from normdiag.data.options import DataOptions
from normdiag.data.preprocess import declared_layout
from normdiag.data.recipe import parse_recipe
from normdiag.errors import UsageError
from normdiag.records import InputSpec

# What is tried where images have another shape than the model takes, as keys of a recipe, in words.
TRIED = {
    "fit=crop": "the largest centre of this shape",
    "fit=crop,centre=0.875": "the inner 0.875 of the largest centre of this shape",
    "fit=stretch": "squeezed into this shape",
    "fit=pad": "whole, with black borders",
}
# Images whose shape is looked at, and a ratio of height to width that is as good as the one wanted.
LOOKED_AT, ALIKE = 64, 1.05


def target_size(options: DataOptions, inputs: Sequence[InputSpec]) -> tuple[int, int] | None:
    """Height and width that images end in: of --crop, else --resize, else as the sole input is declared; or None."""
    given = options.crop or options.resize
    if given is not None:
        return given if isinstance(given, tuple) else (given, given)
    spec = inputs[0] if len(inputs) == 1 else None
    layout = declared_layout(spec)
    if spec is None or spec.shape is None or layout is None:
        return None
    height, width = spec.shape[2:] if layout == "nchw" else spec.shape[1:3]
    return None if height is None or width is None else (height, width)


def needed_size(options: DataOptions, inputs: Sequence[InputSpec]) -> tuple[int, int]:
    """`target_size` for a recipe with `fit`. Raises UsageError where there is none."""
    size = target_size(options, inputs)
    if size is None:
        raise UsageError("--preprocess fit= needs a size: --resize HEIGHTxWIDTH")
    return size


def other_fits(paths: Sequence[Path], options: DataOptions, inputs: Sequence[InputSpec]) -> dict[str, str]:
    """Ways of TRIED that the options leave aside, for images not all of the shape that they end in; else none."""
    size = target_size(options, inputs)
    if size is None or all(_has_ratio(path, size) for path in paths[:LOOKED_AT]):
        return {}
    return {key: words for key, words in TRIED.items() if key != _in_use(options)}


def _in_use(options: DataOptions) -> str | None:
    """What is done now, by --preprocess or by --resize and --crop, as a key of a recipe."""
    fit = parse_recipe(options.preprocess).fit if options.preprocess else None
    if fit is not None:
        return f"fit={fit}"
    if isinstance(options.resize, tuple) and options.crop is None:
        return "fit=stretch"
    return "fit=crop" if options.resize == options.crop else None


def _has_ratio(path: Path, size: tuple[int, int]) -> bool:
    height, width = upright_size(path)
    ratio = height * size[1] / (width * size[0])
    return 1 / ALIKE < ratio < ALIKE
