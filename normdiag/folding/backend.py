"""What folding asks of a backend: a graph to plan on, a way to apply the plan, a way to run both, a way to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from normdiag.records import Batch, FoldPlan, InputSpec, ModelInfo, OpGraph
from normdiag.records.model import Array


@dataclass(frozen=True)
class FoldPoint:
    """Where a folded norm's values can be compared: tensor `before` of the original, `after` of the folded model."""

    layer: str
    before: str
    after: str


class Evaluator(Protocol):
    """A model that runs without any runtime optimization."""

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Every floating-point output of the graph, and the tensors that were asked for, by name.

        Raises InputError where the model cannot run on this batch.
        """
        ...


class Folded(Protocol):
    """A folded model, in memory or on its way to a file."""

    @property
    def points(self) -> tuple[FoldPoint, ...]:
        """One point for each step of the plan, where its values still exist in both models."""
        ...

    @property
    def model(self) -> Any:
        """What Python users get: an onnx.ModelProto, or a torch.nn.Module that takes the original's inputs."""
        ...

    @property
    def size_bytes(self) -> int:
        """The bytes that its parameters take."""
        ...

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        """The folded model ready to run in its own dtypes."""
        ...

    def unrounded(self) -> Evaluator | None:
        """The folded model in float64 with weights that were not rounded yet; None where there is no such thing."""
        ...

    def write(self, target: Path) -> tuple[str, ...]:
        """Write it, whole or not at all, and return notes for the user (other files written, how to load)."""
        ...


class Foldable(Protocol):
    """A model that can be folded. It is never changed."""

    @property
    def info(self) -> ModelInfo:
        """Where it came from; the hash may be left to `sha256`."""
        ...

    @property
    def sha256(self) -> str | None:
        """The hash of its file, which may have to be waited for."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how it was read."""
        ...

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What must be fed."""
        ...

    @property
    def graph(self) -> OpGraph:
        """What the planner reads."""
        ...

    @property
    def size_bytes(self) -> int:
        """The bytes that its parameters take."""
        ...

    @property
    def streams(self) -> bool:
        """Whether its weights are read while it runs, one at a time, so that no size is too large to run it."""
        ...

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        """The original ready to run in its own dtypes; `tensors` are returned beside the outputs."""
        ...

    def exact(self, tensors: Sequence[str] = ()) -> Evaluator | str:
        """The original in float64, or why that cannot run; `tensors` are returned beside the outputs."""
        ...

    def fold(self, plan: FoldPlan) -> Folded:
        """Apply a plan to a copy."""
        ...
