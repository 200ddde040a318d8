"""A Hugging Face checkpoint that can be folded into one of the same architecture, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_aggregate

from normdiag.errors import InputError
from normdiag.folding.backend import FoldPoint
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch.checkpoint.fixed_graph import fixed_graph
from normdiag.folding.pytorch.checkpoint.new_values import joined, new_values, widened_graph
from normdiag.folding.pytorch.checkpoint.stored_model import StoredModel, open_stored, untied
from normdiag.folding.pytorch.checkpoint.write import write_checkpoint
from normdiag.folding.pytorch.export import deployed_copy, different_output, eager_outputs, exported_as_it_is
from normdiag.folding.pytorch.running import TorchEvaluator, user_inputs
from normdiag.folding.ways import find_points
from normdiag.graph.importers.torch_export import stored_names, torch_graph
from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.observe.pytorch.values import model_dtype
from normdiag.records import Batch, FoldPlan, InputSpec, ModelInfo, OpGraph
from normdiag.wording import abridged

# Larger tensors are rounded to float32 at least, which moves nothing by as much as the verification allows.
IN_FLOAT32 = 1 << 25


class CheckpointFoldable:
    """The checkpoint in a folder, as a `Foldable` (folding.backend). Its weights are read one at a time."""

    def __init__(self, stored: StoredModel, info: ModelInfo, batch: Batch, options: ExportOptions) -> None:
        """Export the model around its mapped files; `batch` is an example of its input.

        Raises InputError where the model cannot run on the batch or cannot be exported.
        """
        self.info = info
        self.notes: tuple[str, ...] = ()
        self._example = batch
        program = exported_as_it_is(stored.module, batch, options)
        apart = untied(stored)
        other = None if apart is None else exported_as_it_is(apart.module, batch, options)
        if apart is not None and other is not None and _same_code((program, stored), (other, apart)):
            stored, program = replace(apart, module=stored.module), other
        self.stored, self.program = stored, program
        self._check()

    def _check(self) -> None:
        """That the program gives what the module itself gives."""
        module = self.stored.module
        found = self.evaluator().run(self._example)
        with self.stored.released():
            expected = eager_outputs(module, self._example)
        wrong = different_output(expected, found, model_dtype(module))
        if wrong:
            raise InputError(f"torch.export's program of this model gives another {wrong!r} than the model itself")

    @property
    def sha256(self) -> str | None:
        """Of the file that it came from."""
        return self.info.sha256

    @cached_property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What must be fed, with None for free sizes."""
        below = min((spec.below for spec in self.stored.inputs if spec.below), default=None)
        specs = user_inputs(self.program)
        return tuple(replace(spec, below=below) if spec.dtype.startswith("int") else spec for spec in specs)

    @cached_property
    def graph(self) -> OpGraph:
        """What the planner reads, with an obstacle at all that the code of the model keeps."""
        return fixed_graph(torch_graph(self.program, self.stored.read), self.program, self.stored.storable)

    @cached_property
    def size_bytes(self) -> int:
        """The bytes of all tensors that are stored."""
        return sum(array.nbytes for array in self.stored.tensors.values())

    @property
    def streams(self) -> bool:
        """Its weights are read where an operation needs them."""
        return True

    def evaluator(self, tensors: Sequence[str] = ()) -> TorchEvaluator:
        """The original in its own dtypes; `tensors` (node names) are returned beside the outputs."""
        return TorchEvaluator(self.program, tensors, read=self.stored.read)

    def exact(self, tensors: Sequence[str] = ()) -> TorchEvaluator | str:
        """The original in float64, or why that cannot run."""
        evaluator = TorchEvaluator(self.program, tensors, double=True, read=self.stored.read)
        try:
            evaluator.run(self._example)
        except InputError as error:
            return str(error)
        return evaluator

    def fold(self, plan: FoldPlan) -> CheckpointFolded:
        """The new values of what the plan changes, none of them computed yet."""
        return CheckpointFolded(self, plan)


@dataclass(frozen=True, eq=False)
class CheckpointFolded:
    """The same program with other values, as `normdiag.folding.backend.Folded`."""

    original: CheckpointFoldable
    plan: FoldPlan

    @cached_property
    def _changed(self) -> Mapping[str, Any]:
        """By the names of the program."""
        return new_values(self.original.program, self.original.graph, self.plan)

    @cached_property
    def _untied(self) -> Mapping[str, str]:
        """The parameters that the fold takes apart, and what they were tied to."""
        return {name: tied for name, tied in self.original.stored.added.items() if name in self._changed}

    def read(self, name: str) -> Array | None:
        """A tensor of the folded model, computed now."""
        stored = self.original.stored
        if name not in self._changed:
            return stored.read(name)
        return joined(self._changed[name], self._like(name).shape, self._like(name).dtype)

    @property
    def points(self) -> tuple[FoldPoint, ...]:
        """One point for each step of the plan, where its values exist in both models."""
        return find_points(self.original.graph, self.plan, lambda name: name)

    @property
    def model(self) -> Any:
        """The module with the new values, all of it in memory; what is tied in the original must stay so."""
        if self._untied:
            raise InputError(f"{abridged(list(self._untied))} is no longer tied: write the folder, and load that")
        module = deployed_copy(self.original.stored.module)
        values = {name: self.read(name) for name in self._changed}
        module.load_state_dict(
            {name: to_tensor(each) for name, each in values.items() if each is not None}, strict=False
        )
        return module

    def _like(self, name: str) -> Array:
        stored = self.original.stored
        return stored.tensors[stored.names[name]]

    @property
    def size_bytes(self) -> int:
        """The bytes of all tensors that it stores."""
        stored = self.original.stored
        return self.original.size_bytes + sum(stored.tensors[tied].nbytes for tied in self._untied.values())

    def evaluator(self, tensors: Sequence[str] = ()) -> TorchEvaluator:
        """The folded model in its own dtypes, without oneDNN."""
        return TorchEvaluator(self.original.program, tensors, read=self.read)

    def unrounded(self) -> TorchEvaluator:
        """The folded model in float64 with weights that were not rounded yet: what is left is the plan alone."""
        original = self.original
        exact = new_values(original.program, widened_graph(original.graph), self.plan)

        def read(name: str) -> Array | None:
            if name not in exact:
                return original.stored.read(name)
            like = self._like(name)
            return joined(exact[name], like.shape, np.dtype(np.float32 if like.nbytes > IN_FLOAT32 else np.float64))

        return TorchEvaluator(original.program, double=True, read=read)

    def write(self, target: Path) -> tuple[str, ...]:
        """Write the folder, whole or not at all; returns notes for the user. Raises InputError where that fails."""
        stored = self.original.stored
        mine = {name: pieces for name, pieces in self._changed.items() if name not in stored.added}
        changed = {stored.names[name]: pieces for name, pieces in mine.items()}
        added = {name: self._changed[name] for name in self._untied}
        notes = write_checkpoint(stored, changed, added, target, partial(self._check_written, target))
        return (*self._untied_notes(), *notes)

    def _check_written(self, target: Path, folder: Path) -> None:
        """Open what was written, and run it on the example: it must give exactly what was verified."""
        try:
            again = open_stored(folder)
        except InputError as error:
            raise InputError(f"{target}: what was written cannot be opened again: {error}") from None
        example = self.original._example
        found = TorchEvaluator(self.original.program, read=again.read).run(example)
        expected = self.evaluator().run(example)
        if any(not np.array_equal(found[name], value, equal_nan=True) for name, value in expected.items()):
            raise InputError(f"{target}: what was written does not give what was verified; nothing is left of it")

    def _untied_notes(self) -> tuple[str, ...]:
        stored = self.original.stored
        return tuple(
            f"{name} is no longer tied to {tied}, which costs {stored.tensors[tied].nbytes:,} bytes; its "
            "config.json says tie_word_embeddings: false"
            for name, tied in self._untied.items()
        )


def _same_code(*models: tuple[ExportedProgram, StoredModel]) -> bool:
    """Whether two programs do the same operations on the same tensors of the checkpoint."""
    one, other = (_calls(program, stored.names) for program, stored in models)
    return one == other


def _calls(program: ExportedProgram, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each operation with its arguments: others by number, tensors by the name that the checkpoint has for them."""
    stored = stored_names(program)
    nodes = [node for node in program.graph.nodes if node.op != "placeholder"]
    place = {node: number for number, node in enumerate(nodes)}

    def shown(value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        own = stored.get(value.name, value.name)
        return place.get(value, names.get(own, own))

    return [(str(node.target), repr(map_aggregate((node.args, node.kwargs), shown))) for node in nodes]
