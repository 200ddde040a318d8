"""Reports of small ONNX graphs, as the rules on the graph see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.folding.plan import plan_folds
from normdiag.graph import graph_of, open_model
from normdiag.records import Finding, LayerMetrics, Report
from normdiag.rules import RULES, Context
from tests.nets.onnx.nodes import save
from tests.nets.onnx.text import from_text

RNG = np.random.default_rng(5)


def weight(*shape: int) -> NDArray[np.float32]:
    """Random weights, none of them zero."""
    return RNG.uniform(0.1, 1.0, shape).astype(np.float32)


# Weights that the graphs of the tests may use: 4 channels everywhere.
ARRAYS: dict[str, NDArray[Any]] = {
    "kernel": weight(4, 4, 1, 1),
    "offset": weight(4),
    "zeros4": np.zeros(4, np.float32),
    "matrix": weight(4, 4),
}


def seen(folder: Path, text: str, opset: int = 17, **arrays: NDArray[Any]) -> Context:
    """What rules see of a graph written down as text: its report, its OpGraph and its plan of folds."""
    model = open_model(save(from_text(text, opset, **{**ARRAYS, **arrays}), folder / "model.onnx"))
    graph = graph_of(model)
    assert graph is not None
    rows = tuple(LayerMetrics(layer) for layer in model.layers)
    return Context(Report(model.info, None, rows), graph, plan_folds(graph))


def found(id: str, context: Context | Report, **limits: float) -> list[Finding]:
    """What one rule finds."""
    from normdiag.rules.choose import with_limits

    (rule,) = [rule for rule in RULES if rule.id == id]
    seen = context if isinstance(context, Context) else Context(context)
    return list(with_limits(rule, limits).findings(seen))


def bn(x: str, y: str, name: str = "", attributes: str = "") -> str:
    """A BatchNormalization node of text."""
    label = f"[{name}] " if name else ""
    return f"{label}{y} = BatchNormalization {attributes} ({x}, gamma4, beta4, mean4, var4)"
