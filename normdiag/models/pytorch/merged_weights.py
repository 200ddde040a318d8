"""Tensors that a checkpoint stores in other parts than the module has them, as the experts of a mixture.

transformers (since its version 5) keeps for each architecture how it converts them; that is applied here to tensors
that were read already, so that transformers opens no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.models.pytorch.installed import RefusedError


@dataclass(frozen=True, eq=False)
class _Group:
    """Tensors that are converted together: each with the pattern of the rule that its name matches."""

    rule: Any
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class MergedWeights:
    """`kept` are the tensors that need no conversion, by the checkpoint's names; `sources` are all others."""

    module: nn.Module
    kept: Mapping[str, Array]
    sources: Mapping[str, Array]
    groups: Mapping[str, _Group]

    def shapes(self) -> dict[str, Tensor]:
        """What comes of the others, by the module's names, on the meta device: nothing is read."""
        return dict(self._converted(lambda array: torch.empty(array.shape, device="meta")))

    def values(self) -> Iterator[tuple[str, Tensor]]:
        """What comes of the others, by the module's names, one group in memory at a time, in the stored dtype."""
        return self._converted(to_tensor)

    def _converted(self, read: Callable[[Array], Tensor]) -> Iterator[tuple[str, Tensor]]:
        for target, group in self.groups.items():
            rule = deepcopy(group.rule)
            for name, pattern in group.members:
                rule.add_tensor(target, name, pattern, read(self.sources[name]))
            try:
                found = dict(rule.convert(target, model=self.module, config=getattr(self.module, "config", None)))
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                kind = type(error).__name__
                raise RefusedError(f"transformers cannot make {target} of what is stored: {kind}: {reason}") from error
            for name, value in found.items():
                yield name, value[0] if isinstance(value, list) else value


def merged_weights(module: nn.Module, tensors: Mapping[str, Array]) -> MergedWeights | None:
    """How transformers would convert the tensors for the module; None where it has no rule that they match."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )
    except ImportError:
        return None
    rules = get_model_conversion_mapping(module)
    renamings = [each for each in rules if isinstance(each, WeightRenaming)]
    converters = [each for each in rules if isinstance(each, WeightConverter)]
    of_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    own, prefix = module.state_dict(), getattr(module, "base_model_prefix", "")
    found: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(tensors, key=dot_natural_key):  # experts in the order of their numbers
        target, pattern = rename_source_key(name, renamings, converters, prefix, own)
        if pattern is not None and target in own and name not in own:
            found.setdefault(target, []).append((name, pattern))
    if not found:
        return None
    groups = {target: _Group(of_pattern[each[0][1]], tuple(each)) for target, each in found.items()}
    taken = {name for each in found.values() for name, _ in each}
    kept = {name: array for name, array in tensors.items() if name not in taken}
    return MergedWeights(module, kept, {name: tensors[name] for name in taken}, groups)
