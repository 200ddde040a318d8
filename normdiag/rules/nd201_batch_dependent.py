"""ND201: a BatchNorm that normalizes with its batch, so that the output depends on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from normdiag.records import NormLayer, OpGraph
from normdiag.rules.alike import alike
from normdiag.rules.batch import EXPORTED, uses_batch
from normdiag.rules.context import Context
from normdiag.rules.flow import elements, flow, norms
from normdiag.rules.rule import FindingDraft, rule

EVAL = (
    "Export again with the model in eval mode, so that the running statistics are used; then compare the outputs for "
    "a batch of one with those in a larger batch."
)
NO_STATISTICS = (
    "It has no statistics to use instead: retrain with track_running_stats=True, or with a norm that looks at one "
    "sample at a time, such as GroupNorm."
)


@rule("ND201", "batch-dependent", "error")
def batch_dependent(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A BatchNorm normalizes with the statistics of its batch, so that a sample's output depends on the others in it.

    What it means: the mean and variance come from whatever is run together, not from training. The same sample gets
    other outputs in another batch and in batches of other sizes. In a batch of one it is normalized by itself: over
    its positions where it has several, which takes away how bright or loud it was; where it has one position, as
    after a linear layer or a global pool, the result is the bias, whatever the input.

    Where it is looked for: in ONNX models, a BatchNormalization with training_mode=1 or (before operator set 14) with
    more than one output, or one with computed batch statistics; in TorchScript and .pt2 files, a batch norm in
    training mode; elsewhere a BatchNorm made with track_running_stats=False, or one that was seen to use its batch
    in eval mode. Where the graph is known (ND202 says when), an input that is always one sample silences it.

    Which severity: an error in an exported model. A warning in a PyTorch model, whose author may mean it, and in ONNX
    for a normalization over axis 0 that the graph spells out, for axis 0 may be something else than the batch.

    What keeps it silent: the training flag of a checkpoint, which only says where training stood; and an input that
    was reshaped to a batch of one beforehand, as InstanceNorm and LayerNorm are sometimes written.

    How to fix it: export in eval mode. A layer that stores no statistics (track_running_stats=False) needs to be
    trained with them, or replaced by a norm that looks at one sample at a time; eval mode does not change it.

    Source: Ioffe and Szegedy 2015, section 3.1 (inference uses the statistics of the training data).
    """
    seen = _seen(context.graph) if context.graph else {}
    layers = [each.layer for each in context.report.layers if uses_batch(each.layer, context.report.model)]
    layers = [layer for layer in layers if seen.get(layer.name) != "one sample"]
    groups = alike(layers, lambda layer: (*_cause(layer), seen.get(layer.name) == "one value"))
    for (stored, computed, constant), group in groups.items():
        exported = context.report.model.format in EXPORTED
        yield _draft(group, stored=stored, computed=computed, constant=constant, exported=exported)


def _cause(layer: NormLayer) -> tuple[bool, bool]:
    """What says the remedy and the severity: whether it stores statistics, and whether the graph spells it out."""
    return layer.has_statistics, layer.origin == "decomposed"


def _draft(
    layers: Sequence[NormLayer], *, stored: bool, computed: bool, constant: bool, exported: bool
) -> FindingDraft:
    unused = ", not with the stored ones" if stored else ""
    alone = "the output is the bias, whatever the input" if constant else "it is normalized by itself"
    return FindingDraft(
        layers=tuple(layer.name for layer in layers),
        text=f"normalization with the statistics of the batch{unused}, so that a sample's output depends on the others "
        f"in it; in a batch of one {alone}",
        remedy=EVAL if stored else NO_STATISTICS,
        evidence={
            "layers": len(layers),
            "constant_alone": len(layers) if constant else 0,
            "stored": "yes" if stored else "no",
        },
        severity="error" if exported and not computed else "warning",
        confidence="medium" if computed else "high",
    )


def _seen(graph: OpGraph) -> Mapping[str, Literal["one sample", "one value"]]:
    """Layers whose input was reshaped to a batch of one, and those that see one value of each channel and sample."""
    links = flow(graph)
    found: dict[str, Literal["one sample", "one value"]] = {}
    for name, (op, norm) in norms(graph).items():
        sizes, before = graph.sizes.get(op.inputs[0]), links.before(op, "identity", "transpose")
        if not sizes or not -len(sizes) <= norm.axis < len(sizes):
            continue
        came = graph.sizes.get(before.inputs[0]) if before is not None and before.kind == "reshape" else None
        positions = [size for axis, size in enumerate(sizes) if axis not in (0, norm.axis % len(sizes))]
        if came and sizes[0].known == 1 != came[0].known:
            found[name] = "one sample"
        elif elements(positions) == 1:
            found[name] = "one value"
    return found
