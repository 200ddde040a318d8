"""A PyTorch model as an exported program, with any of its tensors as outputs, and any of them replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from torch import nn

from normdiag.folding.pytorch import TorchFoldable
from normdiag.folding.pytorch.running import TorchEvaluator
from normdiag.records import Batch, InputSpec, Model, OpGraph
from normdiag.records.model import Array


class TracedProgram:
    """Satisfies `normdiag.comparison.traced.TracedModel`. The model shares its tensors and is not changed."""

    def __init__(self, model: Model, example: Batch) -> None:
        """Export the model in eval mode for batches of the size of `example`. Raises InputError where that fails."""
        self._foldable = TorchFoldable(model.program, model.info, _known(model.program, example), share=True)
        self.graph: OpGraph = self._foldable.graph
        self.inputs: tuple[InputSpec, ...] = self._foldable.inputs
        self.present = frozenset(node.name for node in self._foldable.program.graph.nodes)
        self._evaluators: dict[tuple[tuple[str, ...], tuple[str, ...]], TorchEvaluator] = {}

    def run(
        self, batch: Batch, wanted: Sequence[str], replaced: Mapping[str, Array] | None = None
    ) -> Mapping[str, Array]:
        """The wanted tensors of floating-point numbers. Raises InputError where the model cannot run on the batch."""
        replaced, names = replaced or {}, tuple(dict.fromkeys(wanted))
        key = (names, tuple(replaced))
        if key not in self._evaluators:
            self._evaluators = {key: TorchEvaluator(self._foldable.program, names, replaced=tuple(replaced))}
        values = self._evaluators[key].run(batch, replaced)
        return {name: values[name] for name in names if name in values}


def _known(program: Any, batch: Batch) -> Batch:
    """The batch without names that the code of the module does not have: those of the other model."""
    if batch.names is None or not isinstance(program, nn.Module):
        return batch
    known = signature(program.forward).parameters
    return batch if all(name in known for name in batch.names) else replace(batch, names=None)
