"""A Hugging Face checkpoint as a module whose parameters lie in its files, and as one whose weights are not tied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.models.pytorch.arrays import Array, shared_tensor, to_numpy
from normdiag.models.pytorch.hugging_face import EmptyModel, empty_from_config
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static import read_checkpoint
from normdiag.models.static.source import copied, release
from normdiag.records import InputSpec

TIED = "tie_word_embeddings"


@dataclass(frozen=True, eq=False)
class StoredModel:
    """The module in eval mode, around the mapped files: nothing is in memory until it is touched.

    `names` has the checkpoint's name of every tensor of the module's state dict that is stored, `tensors` are these.
    `added` are names that the checkpoint lacks, since they are tied there, with the name of what they are tied to.
    `merged` are names of tensors that it stores in other parts: these are in memory, and cannot get other values.
    """

    path: Path
    config: Mapping[str, Any]
    module: nn.Module
    tensors: Mapping[str, Array]
    names: Mapping[str, str]
    inputs: tuple[InputSpec, ...]
    added: Mapping[str, str] = field(default_factory=dict)
    merged: frozenset[str] = frozenset()

    @property
    def storable(self) -> frozenset[str]:
        """The names in the module's state dict of what the checkpoint stores as the module has it."""
        return frozenset(name for name, stored in self.names.items() if stored not in self.merged)

    def read(self, name: str) -> Array | None:
        """A copy of the tensor that the state dict has under that name; None for what is not stored."""
        stored = self.names.get(name)
        return None if stored is None else copied(self.tensors[stored])

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside, running the module keeps no more of its weights in memory than one layer reads."""

        def release_all(*_: Any) -> None:
            for array in self.tensors.values():
                release(array)

        leaves = [each for each in self.module.modules() if next(each.children(), None) is None]
        hooks = [each.register_forward_hook(release_all) for each in leaves]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def open_stored(path: Path) -> StoredModel:
    """Open the checkpoint in a folder. Raises InputError for one whose model is not built from its config.json."""
    read = read_checkpoint(path)
    if read.config is None:
        raise InputError(f"{path}: has no config.json, which says what its weights belong to")
    try:
        empty = empty_from_config(read.config, read.tensors)
        made = {name: to_numpy(value) for name, value in empty.merged.values()} if empty.merged else {}
    except RefusedError as error:
        raise InputError(f"{path}: {error}") from None
    tensors = {**(empty.merged.kept if empty.merged else read.tensors), **made}
    whole = replace(empty, stored={**empty.stored, **{name: name for name in made}})
    return replace(_around(path, read.config, whole, tensors, {}), merged=frozenset(made))


def untied(model: StoredModel) -> StoredModel | None:
    """The same model with a parameter of its own for each that is tied to the embeddings; None where none is tied.

    The values of these are those of what they were tied to.
    """
    config = _untied_config(model.config)
    try:
        empty = empty_from_config(config, model.tensors)
    except RefusedError:
        return None
    own, storable = _aliases(empty.module, empty.stored), model.storable
    added = {name: model.names[name] for name in _parameters(empty.module) if name not in own and name in storable}
    return replace(_around(model.path, config, empty, model.tensors, added), merged=model.merged) if added else None


def _untied_config(config: Mapping[str, Any]) -> dict[str, Any]:
    inner = {key: _untied_config(each) for key, each in config.items() if isinstance(each, dict) and TIED in each}
    return {**config, **inner, TIED: False}


def _around(
    path: Path, config: Mapping[str, Any], empty: EmptyModel, tensors: Mapping[str, Array], added: Mapping[str, str]
) -> StoredModel:
    """The module with the mapped tensors in their places; what is added gets a place that nobody reads."""
    placed = {name: shared_tensor(tensors[stored]) for name, stored in empty.stored.items()}
    own = {name: torch.empty_like(shared_tensor(tensors[stored])) for name, stored in added.items()}
    empty.module.load_state_dict({**placed, **own}, strict=False, assign=True)
    tie = getattr(empty.module, "tie_weights", None)
    if callable(tie):
        tie()
    names = {**_aliases(empty.module, empty.stored), **added}
    return StoredModel(path, config, empty.module, tensors, names, empty.inputs, added)


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return dict(named)


def _aliases(module: nn.Module, stored: Mapping[str, str]) -> dict[str, str]:
    """The checkpoint's name of each tensor, also under the other names that a tied one has in the module."""
    own = _parameters(module)
    known = {id(own[name]): theirs for name, theirs in stored.items() if name in own}
    return {name: known[id(each)] for name, each in own.items() if id(each) in known}
