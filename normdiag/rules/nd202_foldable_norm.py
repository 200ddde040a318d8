"""ND202: BatchNorm that could be folded is still in an exported model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from normdiag.records import Conv, FoldStep, Linear, Norm, Op, OpGraph, Report
from normdiag.rules.context import Context
from normdiag.rules.flow import norms
from normdiag.rules.rule import FindingDraft, rule
from normdiag.wording import shell_path


@rule("ND202", "foldable-norm", "info")
def foldable_norm(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """An exported model holds BatchNorm layers that could be folded, without a trace, into the layers beside them.

    What it means: in eval mode BatchNorm is a scale and a shift of each channel, which a convolution or linear layer
    before it (or, where nothing pads in between, after it) absorbs in its weights and bias. The numbers are those
    of the plan that `normdiag fold` makes from the graph; folding also looks at the weights and verifies the result.

    Why it matters: each such layer is one more pass over the data, and parameters that do nothing. onnxruntime folds
    most of them by itself each time it loads the model; runtimes for phones, microcontrollers and accelerators, and
    quantizers, often do not. Nothing is wrong with the outputs, so this is information.

    How to fix it: `normdiag fold model.onnx -o folded.onnx`.

    Where it is looked for: in ONNX models, and in PyTorch models that can be exported, wherever there is an example of
    their input: data, `--input-shape`, or what a .pt2 program says of itself. Silent for layers that cannot be folded;
    `normdiag fold --dry-run` says why.

    Source: Ioffe and Szegedy 2015, section 3.1; docs/architecture.md, the planner of folds.
    """
    graph, plan = context.graph, context.folds
    if graph is None or plan is None:
        return
    # A scale and shift with constants is planned as well, but may be no BatchNorm: gamma and beta of a LayerNorm, say.
    layers = {name: norm.layer for name, (_, norm) in norms(graph).items() if norm.layer.kind == "batch_norm"}
    steps = [step for step in plan.steps if step.norm in layers]
    if not steps:
        return
    nodes, parameters = _saved(graph, steps)
    total = len(layers) + sum(layer.kind == "batch_norm" for layer, _ in graph.unreached)
    saved = f", {parameters:,} parameters" if parameters > 0 else ""
    yield FindingDraft(
        layers=tuple(dict.fromkeys(step.norm for step in steps)),
        text=f"{len(steps)} of {total} BatchNorm layers can be folded into the layers beside them, "
        f"which saves {nodes} node{'s' * (nodes != 1)}{saved}",
        remedy=_remedy(context.report),
        evidence={"foldable": len(steps), "of": total, "nodes": nodes, "parameters": parameters},
    )


def _remedy(report: Report) -> str:
    if report.model.format == "module":
        return 'normdiag.fold(model, batches, output="folded.onnx")'
    words = ("normdiag fold", shell_path(report.model.path or "model.onnx"), *map(shlex.quote, report.reading))
    return " ".join((*words, "-o folded.onnx"))


def _saved(graph: OpGraph, steps: Sequence[FoldStep]) -> tuple[int, int]:
    """Nodes that go, and parameters that go, less the biases of layers that have none yet."""
    ops = {op.name: op for op in graph.ops}
    gone = [ops[step.norm] for step in steps if not step.shift_stays]
    takers = {name: ops[name] for step in steps for name in step.into if name in ops}
    freed = sum(_stored(op) for op in gone) - sum(_new_bias(op) for op in takers.values())
    return sum(len(op.nodes) for op in gone), freed


def _stored(op: Op) -> int:
    layer = op.detail.layer if isinstance(op.detail, Norm) else None
    tensors = (layer.gamma, layer.beta, layer.running_mean, layer.running_var) if layer is not None else ()
    return sum(int(tensor.size) for tensor in tensors if tensor is not None)


def _new_bias(op: Op) -> int:
    match op.detail:
        case Conv(bias=None, weight=weight, transposed=transposed, groups=groups):
            return weight.shape[1] * groups if transposed else weight.shape[0]
        case Linear(bias=None, weight=weight, out_axis=axis):
            return weight.shape[axis]
    return 0
