"""A PyTorch model that can be folded, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from normdiag.errors import InputError, UsageError
from normdiag.folding.backend import FoldPoint
from normdiag.folding.options import SUFFIXES, ExportOptions
from normdiag.folding.pytorch.apply import Applied, apply_plan
from normdiag.folding.pytorch.editor import ProgramEditor
from normdiag.folding.pytorch.export import ExportedModule, export_program
from normdiag.folding.pytorch.running import TorchEvaluator, size_bytes, user_inputs
from normdiag.folding.pytorch.state import folded_state
from normdiag.folding.pytorch.write import write_folded_program, write_folded_weights, write_onnx
from normdiag.folding.ways import find_points
from normdiag.graph.importers.torch_export import stored_names, torch_graph
from normdiag.records import Batch, FoldPlan, InputSpec, ModelInfo, OpGraph


class TorchFoldable:
    """A module or torch.export program as a `Foldable` (folding.backend). The caller's object is never changed."""

    def __init__(
        self,
        source: nn.Module | ExportedProgram,
        info: ModelInfo,
        batch: Batch,
        options: ExportOptions | None = None,
        *,
        share: bool = False,
    ) -> None:
        """Export `source` in eval mode; `batch` is an example of its input.

        `share`: for reading alone, the program shares the tensors of the source.

        Raises InputError where the model cannot run on the batch or cannot be exported.
        """
        self.info = info
        self._options = options or ExportOptions()
        self._exported = export_program(source, batch, self._options, share=share)
        self.notes = self._exported.notes

    @property
    def sha256(self) -> str | None:
        """Of the file that it came from."""
        return self.info.sha256

    @property
    def program(self) -> ExportedProgram:
        """The original as a program without in-place operations."""
        return self._exported.program

    @cached_property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What must be fed, with None for free sizes."""
        return user_inputs(self.program)

    @cached_property
    def graph(self) -> OpGraph:
        """What the planner reads."""
        return replace(torch_graph(self.program), stored=stored_names(self.program))

    @property
    def size_bytes(self) -> int:
        """The bytes that its parameters and buffers take."""
        return size_bytes(self.program)

    @property
    def streams(self) -> bool:
        """It is run with all of its weights in memory."""
        return False

    def evaluator(self, tensors: Sequence[str] = ()) -> TorchEvaluator:
        """The original in its own dtypes, without oneDNN; `tensors` (node names) are returned beside the outputs."""
        return TorchEvaluator(self.program, tensors)

    def exact(self, tensors: Sequence[str] = ()) -> TorchEvaluator | str:
        """The original with all floating-point tensors in float64, or why that cannot run."""
        evaluator = TorchEvaluator(self.program, tensors, double=True)
        try:
            evaluator.run(self._exported.example)
        except InputError as error:
            return str(error)
        return evaluator

    def fold(self, plan: FoldPlan) -> TorchFolded:
        """Apply a plan to a copy."""
        return TorchFolded(self._exported, self.graph, plan, apply_plan(self.program, self.graph, plan), self._options)


@dataclass(frozen=True, eq=False)
class TorchFolded:
    """A folded program, as `normdiag.folding.backend.Folded`."""

    exported: ExportedModule
    graph: OpGraph
    plan: FoldPlan
    applied: Applied
    options: ExportOptions = field(default_factory=ExportOptions)

    @property
    def program(self) -> ExportedProgram:
        """The folded torch.export program."""
        return self.applied.program

    @cached_property
    def model(self) -> torch.fx.GraphModule:
        """A module with the original's inputs and outputs, and tensors of its own. It cannot be trained."""
        editor = ProgramEditor(self.program)
        editor.own_tensors()
        module: torch.fx.GraphModule = editor.finish().module()
        module.eval = lambda: module  # type: ignore[method-assign]
        return module

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The state dict of the original's own architecture without the norms that are gone; see `load_folded`.

        Raises InputError where that architecture cannot express the folded model.
        """
        return folded_state(self.exported, self.graph, self.plan, self.applied)

    @property
    def points(self) -> tuple[FoldPoint, ...]:
        """One point for each step of the plan, where its values still exist in both models."""
        return find_points(self.graph, self.plan, self.applied.names.get)

    @property
    def size_bytes(self) -> int:
        """The bytes that its parameters and buffers take."""
        return size_bytes(self.program)

    def evaluator(self, tensors: Sequence[str] = ()) -> TorchEvaluator:
        """The folded model in its own dtypes, without oneDNN."""
        return TorchEvaluator(self.program, tensors)

    def unrounded(self) -> None:
        """Its weights are rounded as they are made."""
        return

    def write(self, target: Path) -> tuple[str, ...]:
        """Write .onnx, .pt2, or weights as .safetensors, .pt or .pth: whole or not at all.

        Returns notes for the user. Raises UsageError for another suffix, InputError where the format cannot hold the
        folded model.
        """
        suffix = target.suffix.lower()
        if suffix not in SUFFIXES:
            raise UsageError(f"{target}: cannot tell the format to write; end the name with {', '.join(SUFFIXES)}")
        if suffix == ".onnx":
            return write_onnx(self.program, target, self.options, self.exported.example)
        if suffix == ".pt2":
            return write_folded_program(self.program, target)
        return write_folded_weights(self.weights, target)
