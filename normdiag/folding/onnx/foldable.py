"""An ONNX file that can be folded, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from normdiag.folding.backend import Evaluator, FoldPoint
from normdiag.folding.onnx.apply import apply_plan, make_patch
from normdiag.folding.onnx.evaluate import OnnxEvaluator
from normdiag.folding.onnx.exact import exact_evaluator
from normdiag.folding.ways import find_points
from normdiag.graph.importers.onnx import op_graph
from normdiag.models.info import sha256_of_stream, without_statistics
from normdiag.models.onnx.load import count_parameters, input_specs, output_specs
from normdiag.models.onnx.program import OnnxProgram
from normdiag.records import FoldPlan, InputSpec, ModelInfo, OpGraph
from normdiag.records.ops import Norm
from normdiag.wording import abridged
from normdiag.writing.onnx.evaluation import evaluated
from normdiag.writing.onnx.original import Original, read_original
from normdiag.writing.onnx.patch import Patch, collect, render
from normdiag.writing.onnx.size import parameter_bytes, patched_bytes
from normdiag.writing.onnx.write import write_model

SET_EVAL = "put into evaluation mode before all else, with the statistics that are stored (--set-eval): "
NOTHING_TRAINS = "--set-eval: no node is in training mode"


class OnnxFoldable:
    """An ONNX file; satisfies normdiag.folding.backend.Foldable. The file is read once and never changed."""

    def __init__(self, path: Path, *, set_eval: bool = False) -> None:
        """With `set_eval`, nodes in training mode are put into evaluation mode first.

        Raises InputError where the file is damaged, incomplete, or points outside its folder.
        """
        self._source = read_original(path)
        self.notes: tuple[str, ...] = ()
        if set_eval:
            self._source, changed = evaluated(self._source)
            self.notes = (f"{SET_EVAL}{abridged(changed)}" if changed else NOTHING_TRAINS,)
        self._size = path.stat().st_size
        pool = ThreadPoolExecutor(1)  # beside all else: a large file takes as long to hash as to fold
        self._digest = pool.submit(sha256_of_stream, path.open("rb", buffering=0))
        pool.shutdown(wait=False)

    @cached_property
    def info(self) -> ModelInfo:
        """Where it came from; `parameters` without running statistics, as `inspect` counts them."""
        path = self._source.path
        layers = (op.detail.layer for op in self.graph.ops if isinstance(op.detail, Norm))
        parameters = without_statistics(count_parameters(self._source.proto.graph), layers)
        return ModelInfo(str(path), "onnx", "onnx", None, self._size, parameters)

    @property
    def sha256(self) -> str:
        """Of the file as it was opened."""
        return self._digest.result()

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph inputs that have no default value."""
        return input_specs(self._source.proto.graph)

    @cached_property
    def graph(self) -> OpGraph:
        """What the planner reads."""
        return op_graph(self._source.proto, self._source.reader)

    @property
    def program(self) -> OnnxProgram:
        """The file as it can be run, without its layers."""
        proto, folder = self._source.proto, self._source.path.parent
        return OnnxProgram(proto, self._source.reader, folder, inputs=self.inputs, outputs=output_specs(proto.graph))

    @cached_property
    def size_bytes(self) -> int:
        """The bytes of all initializers and constants."""
        return parameter_bytes(self._source.proto.graph)

    @property
    def streams(self) -> bool:
        """It is run with all of its weights in memory."""
        return False

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        """The original ready to run in its own dtypes; `tensors` are returned beside the outputs."""
        return OnnxEvaluator(self._source, Patch(), tensors)

    def exact(self, tensors: Sequence[str] = ()) -> Evaluator | str:
        """The original in float64, or why that cannot run; `tensors` as for `evaluator`."""
        return exact_evaluator(self._source, tensors)

    def fold(self, plan: FoldPlan) -> OnnxFolded:
        """Apply a plan to a copy. Raises InputError where a layer cannot be edited in this file."""
        return OnnxFolded(self._source, self.graph, plan)


class OnnxFolded:
    """The folded model as what differs from the file; satisfies normdiag.folding.backend.Folded."""

    def __init__(self, source: Original, graph: OpGraph, plan: FoldPlan) -> None:
        """`graph` is that of `source`, and `plan` was made for it."""
        self._source, self._graph, self._plan = source, graph, plan
        self._draft = apply_plan(source, graph, plan)
        self._patch = make_patch(self._draft)

    @cached_property
    def points(self) -> tuple[FoldPoint, ...]:
        """One point for each step of the plan, where its values still exist in both models."""
        return find_points(self._graph, self._plan, self._draft.name_now)

    @property
    def model(self) -> Any:
        """The folded onnx.ModelProto; external data of unchanged tensors stay where they are."""
        import onnx

        data = collect(render(self._source, self._patch))
        self._source.reader.check_unchanged()
        return onnx.ModelProto.FromString(data)

    @property
    def size_bytes(self) -> int:
        """The bytes of all initializers and constants."""
        return patched_bytes(self._source.proto.graph, self._patch)

    def evaluator(self, tensors: Sequence[str] = ()) -> Evaluator:
        """The folded model ready to run in its own dtypes."""
        return OnnxEvaluator(self._source, self._patch, tensors)

    def unrounded(self) -> None:
        """Its weights are rounded as they are made."""
        return

    def write(self, target: Path) -> tuple[str, ...]:
        """Write it, whole or not at all, and return notes for the user: other files that belong to it.

        Raises InputError where it does not fit into an ONNX file.
        """
        return write_model(self._source, self._patch, target)
