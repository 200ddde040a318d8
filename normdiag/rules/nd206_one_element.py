"""ND206: normalization over a single element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import LayerMetrics, Norm, NormLayer, Op, OpGraph
from normdiag.rules.context import Context
from normdiag.rules.flow import elements, norms
from normdiag.rules.rule import FindingDraft, rule


@rule("ND206", "one-element", "error")
def one_element(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A layer normalizes groups of a single element: what comes in is lost, and the output is the bias alone.

    What it means: the mean of one number is that number and its variance is 0, so (x - mean) / sqrt(0 + eps) is 0 for
    every x. It happens to InstanceNorm where an image has shrunk to 1x1 (after a global pool, or for inputs smaller
    than those in training), to GroupNorm with as many groups as channels at 1x1, and to LayerNorm over one feature.
    An RMSNorm over one element leaves the sign of its input.

    Why it matters: the network is cut at this layer, and nothing that was learned before it has any effect.

    Where it is looked for: in data that was run, where a layer never saw anything else; in the sizes of the graph
    (ND202 says where it is known), as far as they are fixed; and in the shape of a LayerNorm or RMSNorm module. Silent
    where a size is free.

    How to fix it: give the model inputs of the size that it was trained on; if this size is right, remove the layer,
    or normalize over more (fewer groups, or a LayerNorm over the channels).

    Source: Ulyanov et al. 2016, Instance Normalization, equation 3; Wu and He 2018, Group Normalization, section 3.1.
    """
    in_graph = _in_graph(context.graph) if context.graph is not None else frozenset()
    for each in context.report.layers:
        if _measured(each) or _by_shape(each.layer) or each.layer.name in in_graph:
            left = "only the sign of its input is left" if each.layer.kind == "rms_norm" else "its output is its bias"
            yield FindingDraft(
                layers=(each.layer.name,),
                text=f"normalizes groups of one element, so that {left} whatever comes in",
                remedy="Feed inputs of the size used in training, or normalize over more than one element here.",
                evidence={"kind": each.layer.kind, "channels": each.layer.channels, "groups": each.layer.groups},
            )


def _measured(metrics: LayerMetrics) -> bool:
    return metrics.groups is not None and metrics.groups.single_element


def _by_shape(layer: NormLayer) -> bool:
    """A module that normalizes over a shape of one element; an ONNX operator may broadcast a gamma of one element."""
    trailing = layer.kind in ("layer_norm", "rms_norm") and layer.origin in ("module", "function")
    return trailing and layer.channels == 1


def _in_graph(graph: OpGraph) -> frozenset[str]:
    return frozenset(name for name, (op, norm) in norms(graph).items() if _leaves_one(op, norm, graph))


def _leaves_one(op: Op, norm: Norm, graph: OpGraph) -> bool:
    """Whether the sizes of its input leave one element to each group."""
    layer, sizes = norm.layer, graph.sizes.get(op.inputs[0])
    if sizes is None or not -len(sizes) <= norm.axis < len(sizes):
        return False
    axis = norm.axis % len(sizes)
    positions = elements(size for place, size in enumerate(sizes) if place not in (0, axis))
    match layer.kind:
        case "instance_norm":
            return layer.running_mean is None and positions == 1
        case "group_norm":
            return positions == 1 and layer.groups is not None and sizes[axis].known == layer.groups
        case "layer_norm" | "rms_norm" if layer.origin == "operator" and layer.normalized_rank:
            return elements(sizes[-layer.normalized_rank :]) == 1
    return False
