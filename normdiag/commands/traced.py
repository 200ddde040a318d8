"""From a model to one whose tensors can be looked at, whatever its backend."""

from __future__ import annotations

from normdiag.comparison.traced import TracedModel
from normdiag.extras import require_export
from normdiag.records import Batch, Model


def open_traced(model: Model, example: Batch) -> TracedModel:
    """`example` is a batch of the size that will be run. Raises InputError for a model that cannot be exported."""
    if model.info.backend == "onnx":
        from normdiag.comparison.onnx import TracedGraph

        return TracedGraph(model)
    require_export("looking at the tensors of a PyTorch model needs")
    from normdiag.comparison.pytorch import TracedProgram

    return TracedProgram(model, example)
