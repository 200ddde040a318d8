"""How the data is to be read, and what a data source says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from normdiag.errors import UsageError

Layout = Literal["nchw", "nhwc"]
Size = int | tuple[int, int]
# In place of a recipe: the one that fits the model's statistics best.
AUTO = "auto"


@dataclass(frozen=True)
class DataOptions:
    """The options of `open_data`.

    `preprocess` is a recipe as `parse_recipe` reads it, or AUTO; None picks by dtype. `layout` is the layout of image
    arrays as they lie in the file; None tells it from the shape. `resize` (shorter side, or height and width), `crop`
    (centre; a side, or height and width) and `grayscale` are for image files. `input_shapes` are for random data:
    `3,224,224`, `name=3,224,224` or `name=128:int64`, one for each input, without the batch axis. Without `allow_code`
    data that is code of the user's is refused: a configuration that lies beside the models may be anybody's.
    `shuffled` reads what can be indexed in a random order of that `seed`, since the first samples of a sorted folder
    say little of the rest; not where inputs carry state. None leaves it to the command: `inspect`, `check` and
    `recalibrate` do. `shard` (index, count) reads one of so many shares. With `no_small_last` what is read in another
    order ends with a larger batch where the last would hardly be one. `input_axes` (`NAME=1`), `constants`
    (`NAME=16000`) and `states` (`OUTPUT=NAME`) are for inputs of ONNX models that are no samples, or have
    them on another axis.
    """

    preprocess: str | None = None
    batch_size: int = 32
    max_samples: int | None = None
    seed: int = 0
    resize: Size | None = None
    crop: Size | None = None
    grayscale: bool | None = None
    layout: Layout | None = None
    input_shapes: tuple[str, ...] = ()
    shuffled: bool | None = None
    shard: tuple[int, int] = (0, 1)
    no_small_last: bool = True
    allow_code: bool = True
    input_axes: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UsageError for what no data could satisfy."""
        if self.batch_size < 1:
            raise UsageError(f"--batch-size must be at least 1, not {self.batch_size}")
        if self.max_samples is not None and self.max_samples < 1:
            raise UsageError(f"--max-samples must be at least 1, not {self.max_samples}")
        if self.layout not in (None, "nchw", "nhwc"):
            raise UsageError(f"the layout of image arrays is nchw or nhwc, not {self.layout!r}")
        for option, size in (("--resize", self.resize), ("--crop", self.crop)):
            if size is not None and min(size if isinstance(size, tuple) else (size,)) < 1:
                raise UsageError(f"{option} must be at least 1 pixel, not {size}")

    @property
    def words(self) -> tuple[str, ...]:
        """The options as they are typed, for commands that read the same data in the same way; without preparation."""
        gray = {True: ("--grayscale",), False: ("--rgb",), None: ()}[self.grayscale]
        return (
            *_sized("--resize", self.resize),
            *_sized("--crop", self.crop),
            *gray,
            *(["--in-order"] if self.shuffled is False else ()),
            *(["--seed", str(self.seed)] if self.seed else ()),
            *_each("--input-axis", self.input_axes),
            *_each("--const", self.constants),
            *_each("--state", self.states),
        )


def _sized(option: str, size: Size | None) -> tuple[str, ...]:
    if size is None:
        return ()
    return (option, str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}")


def _each(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


def in_random_order(options: DataOptions | None) -> DataOptions:
    """The options, or those by default, with a random order unless they say otherwise."""
    options = options or DataOptions()
    return replace(options, shuffled=True) if options.shuffled is None else options


@dataclass(frozen=True)
class SourceInfo:
    """What is known of the data before it is read.

    `source` is what the user typed, `total` the number of samples that will come (None: not known), `random` marks
    made-up data, `pixels` 8- or 16-bit images, `preprocess` says in the words of `--preprocess` what is done to it,
    `notes` are for the reader.
    """

    source: str
    total: int | None = None
    random: bool = False
    pixels: bool = False
    preprocess: str | None = None
    notes: tuple[str, ...] = ()
