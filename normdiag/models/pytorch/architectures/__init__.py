"""The architectures of torchvision and timm, found by the names and shapes of a file's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from normdiag.models.pytorch.architectures.build import build_architecture, factory_options, image_size
from normdiag.models.pytorch.architectures.match import Match, arguments_for, match_weights
from normdiag.models.pytorch.architectures.told import ToldArchitecture, told_architecture
from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.pytorch.put_weights import put_weights
from normdiag.models.static.staticfile import Array, StaticFile
from normdiag.wording import abridged

__all__ = ["KnownModel", "matched_module"]

_OPTIONAL = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class KnownModel:
    """A module of a known architecture with a file's weights, and how it was found.

    `fitting` are architectures that data may yet speak for, this one first, where it was chosen by a file's name alone
    or where the same weights are one of another size of image; `options` build them, in the same order.
    """

    module: nn.Module
    how: str
    fitting: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def matched_module(static: StaticFile, path: Path, chosen: str | None = None) -> KnownModel:
    """The only architecture of torchvision and timm that these weights fit, with the weights in it.

    Where several fit that compute different functions, what the file says beside its tensors and its name tell;
    `chosen` is the one to take whatever they say. Raises RefusedError where none fits, or where several are left: it
    then lists them all, each by the options that build it.
    """
    match = match_weights({name: tuple(array.shape) for name, array in static.tensors.items()})
    if match is None:
        raise RefusedError("its weights are those of no architecture in torchvision or timm that is known here")
    told = ToldArchitecture(tuple((chosen,) for names in match.functions if chosen in names))
    if chosen is None:
        told = told_architecture(match, static.hints, static.config, path)
    if len(told.functions) != 1:
        raise RefusedError(*_question(match, told))
    name, module = _first_installed(replace(match, functions=told.functions))
    _load(module, match, static.tensors)
    sizes = _of_other_sizes(match, name)
    fitting = (name, *(_others(match, name) if told.by_name else sizes))
    how = _how(match, told, name, sizes)
    return KnownModel(module, how, *((fitting, _options(match, fitting)) if len(fitting) > 1 else ()))


def _how(match: Match, told: ToldArchitecture, name: str, sizes: tuple[str, ...]) -> str:
    stripped = f" without '{match.prefix}'" if match.prefix else ""
    how = f"{_shown([name])}, matched by the names and shapes of {match.tensors} tensors{stripped}"
    if told.told_by:
        alone = " alone" if told.by_name and len(told.told_by) == 1 else ""
        others = _shown(_others(match, name))
        how += f" and chosen by {' and '.join(told.told_by)}{alone} (the same tensors are in {others})"
    return f"{how}; with images of another size these weights are {_shown(sizes)}" if sizes else how


def _shown(names: Sequence[str]) -> str:
    return abridged([name.replace(":", " ", 1) for name in names])


def _question(match: Match, told: ToldArchitecture) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    fitting = tuple(names[0] for names in told.functions)
    reason = f"its {match.tensors} tensors fit {len(fitting)} architectures ({_shown(fitting)})"
    return reason, _options(match, fitting), fitting


def _options(match: Match, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(factory_options(name, arguments_for(match, name)) for name in names)


def _others(match: Match, name: str) -> tuple[str, ...]:
    """One name of each of the other functions."""
    return tuple(names[0] for names in match.functions if name not in names)


def _of_other_sizes(match: Match, name: str) -> tuple[str, ...]:
    """The names of the same function that take images of another size."""
    alike = next((names for names in match.functions if name in names), ())
    return tuple(each for each in alike if len(alike) > 1 and image_size(each) not in (None, image_size(name)))


def _first_installed(match: Match) -> tuple[str, nn.Module]:
    """Of names for one function, the first whose package is here."""
    refused: RefusedError | None = None
    for name in match.functions[0]:
        try:
            return name, build_architecture(name, arguments_for(match, name))
        except RefusedError as error:
            refused = refused or error
    raise RefusedError(f"its {match.tensors} tensors fit {match.functions[0][0].replace(':', ' ')}, and {refused}")


def _load(module: nn.Module, match: Match, tensors: Mapping[str, Array]) -> None:
    """Put all of them in. Raises RefusedError where the version that is installed has other ones."""
    given = {name[len(match.prefix) :]: array for name, array in tensors.items()}
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    odd = [name for name in wanted if name not in given and not name.endswith(_OPTIONAL)]
    odd += [name for name, array in given.items() if wanted.get(name) != tuple(array.shape)]
    if odd:
        raise RefusedError(
            f"its tensors fit {match.functions[0][0].replace(':', ' ')}, but for {abridged(odd)} in the version here"
        )
    put_weights(module, {name: to_tensor(array) for name, array in given.items()})
