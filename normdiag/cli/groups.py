"""Options that several commands share, declared once: a command takes a group of them as one parameter.

typer knows single parameters only, so `flat` spells the groups out for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, get_type_hints

from normdiag.cli import data_options
from normdiag.cli import options as opt
from normdiag.cli.output import say
from normdiag.errors import UsageError

if TYPE_CHECKING:
    from normdiag.config import DataSettings
    from normdiag.data import DataOptions
    from normdiag.models import LoadOptions


# What real data is held against.
_COMPARED = frozenset({"--reference", "--train-data"})


@dataclass(frozen=True)
class ReadingOptions:
    """How the model is read."""

    arch: opt.Arch = None
    arch_arg: opt.ArchArg = None
    key: opt.Key = None
    trust: opt.Trust = False
    provider: opt.Provider = None

    def options(self, stream: opt.StreamChoice | None = None, *, quiet: bool = True) -> LoadOptions:
        """With the modules that the user's own configuration allows the model to be rebuilt from.

        `stream` for commands that take it; unless `quiet`, stderr says why weights are streamed.
        """
        from normdiag.config.own import read_own_config
        from normdiag.models import LoadOptions

        arguments, allowed = tuple(self.arch_arg or ()), read_own_config().modules
        options = LoadOptions(self.key, self.arch, arguments, self.trust, allowed, provider=self.provider)
        return options if stream is None else replace(options, stream=stream.value, tell=None if quiet else say)


@dataclass(frozen=True)
class FeedingOptions:
    """The data, and how it is read and run. None where no flag says so."""

    data: data_options.Data = None
    preprocess: data_options.Preprocess = None
    batch_size: data_options.BatchSize = None
    max_samples: data_options.MaxSamples = None
    resize: data_options.Resize = None
    crop: data_options.Crop = None
    grayscale: data_options.Grayscale = None
    input_shape: data_options.InputShape = None
    input_axis: data_options.InputAxis = None
    const: data_options.Constant = None
    state: data_options.State = None
    in_order: data_options.InOrder = None
    seed: data_options.Seed = None

    @property
    def specs(self) -> tuple[str, ...]:
        """What `--data` names."""
        return tuple(self.data or ())

    def options(self, batch_size: int) -> DataOptions:
        """How to read the data; `batch_size` is the default. Raises UsageError for sizes that are none."""
        settings = self.settings()
        return replace(settings, batch_size=settings.batch_size or batch_size).options()

    def settings(self, **more: Any) -> DataSettings:
        """What the flags say, and `more` members of it. Raises UsageError for sizes that are none."""
        from normdiag.config import DataSettings

        return DataSettings(
            data=self.specs or None,
            preprocess=self.preprocess,
            batch_size=self.batch_size,
            max_samples=self.max_samples,
            seed=self.seed,
            resize=_size("--resize", self.resize),
            crop=_size("--crop", self.crop),
            grayscale=self.grayscale,
            input_shapes=tuple(self.input_shape) if self.input_shape else None,
            in_order=self.in_order,
            input_axes=tuple(self.input_axis) if self.input_axis else None,
            constants=tuple(self.const) if self.const else None,
            states=tuple(self.state) if self.state else None,
            **more,
        )

    def refuse_without_data(self, more: Mapping[str, object], *, but: tuple[str, ...] = ()) -> None:
        """Raise UsageError for the first of these options, and of `more`, that is given where no data is.

        It would do nothing. Those named in `but` do something all the same.
        """
        own = {_flag(each, self): getattr(self, each.name) for each in fields(self) if each.name != "data"}
        for name, value in (own | dict(more)).items():
            if value is not None and name not in but:
                data = "--data of your own" if name in _COMPARED else "--data (your own, or random)"
                raise UsageError(f"{name} does nothing without {data}")


@dataclass(frozen=True)
class Trying(FeedingOptions):
    """The data of `preprocess`, which tries preparations of its own."""

    preprocess: data_options.InUse = None


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """A command as typer reads it: in place of each parameter that is a group, the options of that group."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    single = signature(command)
    named = ((name, each.replace(annotation=hints[name])) for name, each in single.parameters.items())
    spelled_out = (_options(groups[name]) if name in groups else (each,) for name, each in named)
    parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for group in spelled_out for each in group]
    called.__signature__ = single.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called


def _options(group: Any) -> list[Parameter]:
    hints, kind = get_type_hints(group, include_extras=True), Parameter.KEYWORD_ONLY
    return [Parameter(each.name, kind, default=each.default, annotation=hints[each.name]) for each in fields(group)]


def _flag(option: Field[Any], group: FeedingOptions) -> str:
    """How an option is written on the command line."""
    if option.name == "grayscale" and group.grayscale is False:
        return "--rgb"
    return "--" + option.name.replace("_", "-")


def _size(option: str, text: str | None) -> int | tuple[int, int] | None:
    """'256' or '256x224' (height x width)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"{option} {text}: give one size, as 256, or height and width, as 256x224")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))
