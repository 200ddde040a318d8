"""ND205: BatchNorm after the nonlinearity in a net that has it before elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from normdiag.records import Op, OpGraph
from normdiag.rules.context import Context
from normdiag.rules.flow import Flow, flow, norms
from normdiag.rules.rule import FindingDraft, rule

LINEAR = frozenset({"conv", "conv_transpose", "linear"})
# Of the kind "activation", but not the nonlinearity of a layer.
NOT_HIDDEN = frozenset({"Softmax", "LogSoftmax", "Hardmax", "Erf"})


@rule("ND205", "norm-after-activation", "info", before=4, share=0.75)
def norm_after_activation(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A few BatchNorm layers lie after the nonlinearity, in a network that has them before it elsewhere.

    What it means: most layers here are convolution, BatchNorm, nonlinearity, and these are convolution, nonlinearity,
    BatchNorm. Both orders train. A mixture is sometimes meant and more often a slip in the code, or in a conversion
    by hand, where it changes what the model computes.

    Why it matters: after a ReLU the values are not symmetric and half of them are zero, so that mean and variance
    describe them badly; and such a norm folds only into the layer after it, where no padding comes between.

    Why these limits: "elsewhere" are at least 4 layers (limit `before`) and at least three quarters (limit `share`)
    of those that are one or the other.

    What keeps it silent: a network that has all of them after it; pre-activation networks, where BatchNorm has a
    nonlinearity after it or comes out of a sum or a concatenation; a second BatchNorm after one that is before;
    the BatchNorm of an input. ND202 says which models are looked at; norms that the exporter folded do not count.

    How to fix it: compare with the code that the model was trained with; if that is what was meant, ignore this.

    Source: Ioffe and Szegedy 2015, section 3.2 (immediately before the nonlinearity); He et al. 2016, Identity
    Mappings in Deep Residual Networks, section 4.
    """
    if context.graph is None:
        return
    places = _places(context.graph)
    after = [name for name, place in places.items() if place == "after"]
    before = len(places) - len(after)
    if after and before >= limits["before"] and before >= limits["share"] * len(places):
        yield FindingDraft(
            layers=tuple(after),
            text=f"BatchNorm after the nonlinearity, where {before} others of this network have it before",
            remedy="Compare the order of layers with the code that the model was trained with.",
            evidence={"after": len(after), "before": before},
            confidence="medium",
        )


def _places(graph: OpGraph) -> Mapping[str, Literal["before", "after"]]:
    """For each BatchNorm between a linear layer and a nonlinearity, or after both."""
    links = flow(graph)
    found: dict[str, Literal["before", "after"]] = {}
    for name, (op, norm) in norms(graph).items():
        source = links.before(op, "identity", "dropout", "pool", "pad")
        if norm.layer.kind != "batch_norm" or source is None:
            continue
        followed = any(_is_hidden(each) for each in links.after(op))
        if source.kind in LINEAR and followed:
            found[name] = "before"
        elif _is_hidden(source) and not followed and _linear_before(source, links):
            found[name] = "after"
    return found


def _is_hidden(op: Op) -> bool:
    return op.kind == "activation" and op.operator not in NOT_HIDDEN


def _linear_before(op: Op, links: Flow) -> bool:
    source = links.before(op, "identity", "dropout", "scale_shift")
    return source is not None and source.kind in LINEAR
