"""What the options of a command say, as the records that the API takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.errors import UsageError

if TYPE_CHECKING:
    from normdiag.config import Config, DataSettings, Settings
    from normdiag.data import DataOptions
    from normdiag.models import LoadOptions


def load_options(key: str | None, arch: str | None, arch_arg: Sequence[str] | None, trust: bool) -> LoadOptions:
    """How to read the model, with the modules that the user's own configuration allows it to be rebuilt from."""
    from normdiag.config.own import read_own_config
    from normdiag.models import LoadOptions

    allowed = read_own_config().modules
    return LoadOptions(key=key, arch=arch, arch_args=tuple(arch_arg or ()), trust=trust, allow_modules=allowed)


def data_options(
    *,
    preprocess: str | None,
    batch_size: int,
    max_samples: int | None,
    seed: int,
    resize: str | None,
    crop: str | None,
    grayscale: bool | None,
    input_shape: Sequence[str] | None,
    shuffled: bool | None = None,
) -> DataOptions:
    """How to read the data. Raises UsageError for sizes that are none."""
    from normdiag.data import DataOptions

    return DataOptions(
        preprocess=preprocess,
        batch_size=batch_size,
        max_samples=max_samples,
        seed=seed,
        resize=_size("--resize", resize),
        crop=_size("--crop", crop),
        grayscale=grayscale,
        input_shapes=tuple(input_shape or ()),
        shuffled=shuffled,
    )


def data_settings(
    *,
    data: Sequence[str] | None,
    preprocess: str | None,
    batch_size: int | None,
    max_samples: int | None,
    seed: int | None,
    resize: str | None,
    crop: str | None,
    grayscale: bool | None,
    input_shape: Sequence[str] | None,
    serve_batch: int | None,
    in_order: bool | None,
    train_data: Sequence[str] | None = None,
) -> DataSettings:
    """The data and how to read it, None where no flag says so. Raises UsageError for sizes that are none."""
    from normdiag.config import DataSettings

    return DataSettings(
        data=tuple(data) if data else None,
        preprocess=preprocess,
        batch_size=batch_size,
        max_samples=max_samples,
        seed=seed,
        resize=_size("--resize", resize),
        crop=_size("--crop", crop),
        grayscale=grayscale,
        input_shapes=tuple(input_shape) if input_shape else None,
        serve_batch=serve_batch,
        in_order=in_order,
        train_data=tuple(train_data) if train_data else None,
    )


def data_flags(settings: DataSettings) -> dict[str, object]:
    """The options on how data is run, by their names, with None for those that are not given."""
    gray = settings.grayscale
    return {
        "--preprocess": settings.preprocess,
        "--batch-size": settings.batch_size,
        "--max-samples": settings.max_samples,
        "--resize": settings.resize,
        "--crop": settings.crop,
        "--rgb" if gray is False else "--grayscale": gray,
        "--input-shape": settings.input_shapes,
        "--serve-batch": settings.serve_batch,
        "--in-order": settings.in_order,
        "--train-data": settings.train_data,
        "--seed": settings.seed,
    }


def refuse_without_data(options: Mapping[str, object]) -> None:
    """Raise UsageError for the first of these options that is given, where no data is: it would do nothing."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} does nothing without --data (your own, or random)")


def configuration(flags: Settings, file: Path | None, *, none: bool, allow_code: bool = False) -> Config:
    """What a configuration file and the flags over it amount to: the file given, else the nearest one upwards.

    With `none` no file is read; with `allow_code` the file may name code as data. Raises UsageError for what cannot be.
    """
    from normdiag.config import Config, merge, read_config, read_config_file

    if file is not None and none:
        raise UsageError("--config and --no-config contradict each other")
    if none:
        read = Config(folder=Path.cwd())
    elif file is None:
        read = read_config(Path.cwd(), allow_code=allow_code)
    else:
        read = read_config_file(file, allow_code=allow_code)
    config = merge(read, flags)
    config.rules()  # raises for rules that do not exist
    config.data.options()  # and for what no data could satisfy
    return config


def _size(option: str, text: str | None) -> int | tuple[int, int] | None:
    """'256' or '256x224' (height x width)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"{option} {text}: give one size, as 256, or height and width, as 256x224")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))
