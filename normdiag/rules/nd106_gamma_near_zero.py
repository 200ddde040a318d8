"""ND106: channels whose gamma is next to nothing beside the others of their layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.metrics.ordered import quantile
from normdiag.records import NormLayer, Severity
from normdiag.rules.alike import alike
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule
from normdiag.rules.stops import Lost, stops
from normdiag.rules.stored import is_all, is_initial

KINDS = frozenset({"batch_norm", "instance_norm", "group_norm"})
# The gamma that a layer's others are held against, of those that are not zero. The median would itself be near zero
# where half are pruned, the largest may be an outlier.
USUAL = 0.9
NO_WAY_AROUND = "the next layer reads nothing else, so what is before it in this branch is lost"


@rule("ND106", "gamma-near-zero", "info", ratio=1e-3, half=0.5)
def gamma_near_zero(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """Channels have a gamma near zero: whatever their input, they pass on their bias.

    What it means: |gamma| is below a thousandth (limit `ratio`) of what is usual in the layer, the 90th percentile of
    those that are not zero.
    The layer's output in these channels is beta give or take a thousandth of what the others carry.

    Why it matters: the channel and the weights that make it cost their full share and do nothing. Weight decay or an
    L1 penalty on gamma makes such channels, on purpose or not; on purpose, they are waiting to be cut out. A layer
    with at least half of its channels so (limit `half`) is a warning, fewer are information: published nets have a
    few in every other layer.

    A layer whose gamma is zero throughout has a constant output. That is an error where an output of the model no
    longer depends on its input, and a warning where it still does by another way, but the next layer reads that
    constant alone.

    What keeps it silent: a gamma of zero throughout whose output goes into a sum (a product, a concatenation) with
    something that depends on the input, before another layer reads it, as the last one of a residual branch begins its
    life; one that was never updated (ND104); and one in a model whose graph is not known (weights alone, a PyTorch
    model without data or `--input-shape`, or with all of ND2xx switched off). LayerNorm and RMSNorm, whose features are
    no channels to be cut, and whose gamma some implementations store less 1.

    How to fix it: cut the channels out of this layer and of the weights before and after it (with beta added to the
    next bias), or lower the weight decay on gamma. Where all of gamma is zero, load the values that belong there.

    Source: Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming, section 3.
    """
    if context.graph is not None:
        yield from _constant(stops(context.graph, _is_zero))
    counts = {each.layer: _near_zero(each.layer, limits["ratio"]) for each in context.report.layers}
    found = sorted((layer for layer, count in counts.items() if count), key=lambda layer: -_share(layer, counts[layer]))

    def severity(layer: NormLayer) -> Severity:
        return "warning" if _share(layer, counts[layer]) >= limits["half"] else "info"

    for graded, layers in alike(found, severity).items():
        channels = sum(counts[layer] for layer in layers)
        yield FindingDraft(
            layers=tuple(layer.name for layer in layers),
            text="gamma is near zero, so these channels pass on their bias alone"
            + (f"; {channels} channels of {len(layers)} layers in all" if len(layers) > 1 else ""),
            remedy="Cut these channels out, or lower the weight decay on gamma.",
            evidence={
                "channels": channels,
                "layers": len(layers),
                "worst_share": _share(layers[0], counts[layers[0]]),
            },
            details={layer.name: f"{counts[layer]} of {layer.channels}" for layer in layers},
            severity=graded,
        )


def _constant(stopped: Mapping[str, Lost]) -> Iterator[FindingDraft]:
    """Of layers whose gamma is zero throughout, by what is lost."""
    for lost, layers in alike(stopped, stopped.__getitem__).items():
        yield FindingDraft(
            layers=tuple(layers),
            text="gamma is zero throughout, so that the output is constant; "
            + ("an output of the model no longer depends on its input" if lost == "output" else NO_WAY_AROUND),
            remedy="Load the gamma that belongs here; if it was trained to zero, cut the branch out.",
            evidence={"layers": len(layers)},
            severity="error" if lost == "output" else "warning",
        )


def _is_zero(layer: NormLayer) -> bool:
    known = layer.gamma is not None and layer.gamma.size > 0 and layer.kind in KINDS
    return known and is_all(layer.gamma, 0.0) and not is_initial(layer)


def _near_zero(layer: NormLayer, ratio: float) -> int:
    if layer.gamma is None or layer.gamma.size == 0 or layer.kind not in KINDS:
        return 0
    size = np.abs(np.asarray(layer.gamma, np.float64))
    if not np.all(np.isfinite(size)):  # ND101's
        return 0
    if not size.any():  # see _constant
        return 0
    usual = quantile(size[size > 0], USUAL)
    return int(np.count_nonzero(size < ratio * usual))


def _share(layer: NormLayer, count: int) -> float:
    return count / layer.gamma.size if layer.gamma is not None else 0.0
