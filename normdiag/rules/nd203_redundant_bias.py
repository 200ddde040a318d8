"""ND203: a bias directly before a norm that cancels it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.records import Conv, Linear, Norm, Op, OpGraph
from normdiag.rules.context import Context
from normdiag.rules.flow import Flow, flow, norms
from normdiag.rules.rule import FindingDraft, rule

CANCELS = ("batch_norm", "instance_norm")


@rule("ND203", "redundant-bias", "info")
def redundant_bias(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """Convolutions or linear layers have a bias although the BatchNorm or InstanceNorm after them cancels it.

    What it means: the norm subtracts the mean of each channel, and the bias is part of that mean. In training the bias
    changes no output and gets no gradient; it stays where weight decay leaves it. In eval mode the stored mean holds
    it, so that only their difference counts. beta does what a bias would do.

    Why it matters: parameters and, for some optimizers, state that do nothing. And a trap: whoever resets or swaps
    the bias or the statistics alone, or averages one without the other, shifts every channel.

    How to fix it: build such layers with bias=False. In a trained model the bias may be set to zero if it is
    subtracted from running_mean as well; `normdiag fold` removes both.

    What keeps it silent: a bias of zeros, which exporters put in by themselves; a tensor that something else reads
    too; a bias that does not run along the channels of the norm. Only the graph shows what is before what:
    ND202 says of which models it is known. A norm that the exporter has folded is not there any more.

    Source: Ioffe and Szegedy 2015, section 3.2 ("the bias b can be ignored").
    """
    graph = context.graph
    if graph is None:
        return
    links = flow(graph)
    biased = [name for op, norm in norms(graph).values() if (name := _biased(op, norm, graph, links))]
    if biased:
        yield FindingDraft(
            layers=tuple(dict.fromkeys(biased)),
            text="bias that the normalization after it cancels",
            remedy="Build layers before BatchNorm with bias=False.",
            evidence={"layers": len(biased), "first": biased[0]},
        )


def _biased(op: Op, norm: Norm, graph: OpGraph, links: Flow) -> str | None:
    """The layer before a norm whose bias it cancels."""
    if norm.layer.kind not in CANCELS:
        return None
    before = links.before(op, "identity")
    if before is None or len(list(links.after(before))) > 1 or set(before.outputs) & {*graph.outputs, *graph.pinned}:
        return None
    sizes = graph.sizes.get(before.outputs[0])
    match before.detail:
        case Conv(bias=bias):
            fits = norm.axis == 1
        case Linear(bias=bias, channel_axis=axis) if sizes is not None:
            fits = norm.axis % len(sizes) == axis % len(sizes) and _along(bias.shape if bias else (), axis)
        case _:
            return None
    if bias is None or not fits or bias.obstacle is not None:
        return None
    return before.name if np.any(np.asarray(bias.read(), np.float64)) else None


def _along(shape: tuple[int, ...], axis: int) -> bool:
    """Whether a bias that is broadcast to the output varies along this axis (negative) only, if at all."""
    return all(size == 1 or place == axis for place, size in zip(range(-len(shape), 0), shape, strict=True))
