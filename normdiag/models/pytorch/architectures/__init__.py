"""The architectures of torchvision and timm, found by the names and shapes of a file's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from normdiag.models.pytorch.architectures.build import arguments_of, build_architecture, factory_options
from normdiag.models.pytorch.architectures.match import Match, match_weights
from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.staticfile import Array
from normdiag.wording import abridged

__all__ = ["matched_module"]

_OPTIONAL = "num_batches_tracked"


def matched_module(tensors: Mapping[str, Array], chosen: str | None = None) -> tuple[nn.Module, str]:
    """The only architecture of torchvision and timm that these weights fit, with the weights in it, and what it is.

    `chosen` is the one to take where several fit. Raises RefusedError where none fits, or where several do that compute
    different functions: it then lists them all, each by the options that build it.
    """
    match = match_weights({name: tuple(array.shape) for name, array in tensors.items()})
    if match is None:
        raise RefusedError("its weights are those of no architecture in torchvision or timm that is known here")
    if chosen is not None:
        match = replace(match, functions=tuple(names for names in match.functions if names[0] == chosen))
    if len(match.functions) != 1:
        options = tuple(factory_options(names[0], _arguments(match, names[0])) for names in match.functions)
        fitting = tuple(names[0] for names in match.functions)
        listed = abridged([name.replace(":", " ", 1) for name in fitting])
        raise RefusedError(f"its {match.tensors} tensors fit {len(options)} architectures ({listed})", options, fitting)
    name, module = _first_installed(match)
    _load(module, match, tensors)
    stripped = f" without '{match.prefix}'" if match.prefix else ""
    return module, f"{name.replace(':', ' ')}, matched by the names and shapes of {match.tensors} tensors{stripped}"


def _first_installed(match: Match) -> tuple[str, nn.Module]:
    """Of names for one function, the first whose package is here."""
    refused: RefusedError | None = None
    for name in match.functions[0]:
        try:
            return name, build_architecture(name, _arguments(match, name))
        except RefusedError as error:
            refused = refused or error
    raise RefusedError(f"its {match.tensors} tensors fit {match.functions[0][0].replace(':', ' ')}, and {refused}")


def _arguments(match: Match, name: str) -> dict[str, Any]:
    return arguments_of(name, match.classes, match.channels)


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
    module.load_state_dict({name: to_tensor(array) for name, array in given.items()}, strict=False)
