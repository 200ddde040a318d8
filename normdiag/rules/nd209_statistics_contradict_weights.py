"""ND209: stored means that the weights before them contradict, without any data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from normdiag.metrics.predicted import Predicted, predicted_means
from normdiag.records import OpGraph, Size
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule
from normdiag.rules.stored import contradicted

REMEDY = (
    "Recompute the statistics on training data (torch.optim.swa_utils.update_bn), or load the buffers that were saved "
    "with these weights; check with --data."
)
BY_SIZE = (
    ", or the graph is for inputs of another size than in training: away from the border of the image the two agree"
)
AT_ITS_SIZE = " Where the size is another one, export for that of training, or judge with --data of that size."


@rule("ND209", "statistics-contradict-weights", "warning", off=0.4, relative=0.8, channels=4, drift=0.5)
def statistics_contradict_weights(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A BatchNorm layer's stored mean is not the one that the weights before it give.

    What it means: after a BatchNorm each channel has the mean beta and the standard deviation |gamma|, so what comes
    out of the activation and the linear layer after it has a mean that can be computed: with a = beta/|gamma|, a
    ReLU gives |gamma| phi(a) + beta Phi(a), and the weights add that up. The next BatchNorm has stored that mean. The
    rule fires where the two differ by at least 0.4 stored standard deviations (limit `off`, RMS over the channels)
    and have little in common: a difference of at least 0.8 of their own size (limit `relative`; 0 where they agree,
    1.4 where they are unrelated or the stored mean is zero). No data is needed.

    Why it matters: the statistics belong to other weights. Weights were loaded, merged or pruned and the buffers were
    not, or these come from another run, another layer or an early checkpoint. Such a model trains well and fails in
    eval mode.

    Why these limits: over 217 layers of 26 healthy networks (ResNet20, a face detector, speech enhancement, small ones
    of many architectures) the prediction is off by 0.06 in the median and 0.42 at most, relative 0.08 and 0.49. With
    the statistics of another seed's training it is 0.74 in the median, relative 1.3 and never below 0.74: all of 18
    networks are found, by 77 % of their layers. Where one layer alone has such statistics, 103 of 133 are found, and
    no other layer is named. Missed are layers whose means are small against their standard deviation.

    After a residual sum the branches are taken to be independent: in ResNet20 the mean after the ReLU that follows is
    off by 0.03 to 0.06, no more than elsewhere.

    A graph that was exported for smaller inputs than those of training has more border in it, where padding lowers the
    means. Where the stored means are right for inputs without any border, both causes are named.

    What it cannot see: layers whose input mean is not predictable (after a max pool, squeeze and excitation, flattened
    positions, the model's input); what is after a layer of which half of the channels or more pass on their bias alone,
    through their variance (ND102, ND103) or a gamma of zero (ND106): the fault is there, not here; small errors; wrong
    variances; statistics that are all 0 and 1 (ND104); gamma and beta of another checkpoint, mostly. Averaged weights
    with the statistics of the last ones mostly stay below the limits: in the sample digits_cnn_averaged, at 85 %
    accuracy, the one layer that can be judged is off by 0.2 (ND301 finds it on data). A network that was trained on
    with frozen statistics contradicts them rightly, if it moved far: hence a warning, and silence where data shows a
    drift below the limit `drift`. ND202 says which models are looked at.

    How to fix it: recompute the statistics on training data, with torch.optim.swa_utils.update_bn for averaged
    weights, or load the buffers that were saved with the weights. Measure the accuracy before and after.

    Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2.1
    (the mean after a ReLU); Izmailov et al. 2018, Averaging Weights Leads to Wider Optima, section 3.2.
    """
    if context.graph is None:
        return
    judged = [each for each in predicted_means(context.graph) if len(each.s) >= limits["channels"]]
    right = {each.layer.name for each in context.report.layers if contradicted(each, limits["drift"]) is False}
    wrong = [each for each in judged if _is_off(each, limits) and each.layer not in right]
    agree = _without_borders(context.graph, limits) if wrong else frozenset[str]()
    sized = [each for each in wrong if each.layer in agree]
    if len(wrong) > 3 and 2 * len(wrong) >= len(judged):
        yield _of_all(wrong, len(judged), by_size=2 * len(sized) >= len(wrong))
    else:
        yield from (_of_one(each, each in sized) for each in wrong)


def _is_off(each: Predicted, limits: Mapping[str, float]) -> bool:
    return each.rms >= limits["off"] and each.relative >= limits["relative"]


def _without_borders(graph: OpGraph, limits: Mapping[str, float]) -> frozenset[str]:
    """The layers whose stored means are right for images so large that the zeros around them do not count."""
    free = {name: (*sizes[:2], *(Size(1, (name,)) for _ in sizes[2:])) for name, sizes in graph.sizes.items()}
    predicted = predicted_means(replace(graph, sizes=free))
    return frozenset(each.layer for each in predicted if not _is_off(each, limits))


def _of_one(each: Predicted, by_size: bool) -> FindingDraft:
    return FindingDraft(
        layers=(each.layer,),
        text=f"its running_mean is off by {each.rms:.2g} standard deviations from what the weights before "
        f"it give (relative {each.relative:.2g}): it belongs to other weights{BY_SIZE * by_size}",
        remedy=REMEDY + AT_ITS_SIZE * by_size,
        evidence={"off": each.rms, "relative": each.relative, "zero": each.zero, "channels": len(each.s)},
        confidence="medium",
    )


def _of_all(wrong: Sequence[Predicted], judged: int, by_size: bool) -> FindingDraft:
    """One finding, where most of what can be judged is wrong."""
    off = sorted(each.rms for each in wrong)
    return FindingDraft(
        layers=tuple(each.layer for each in wrong),
        text=f"the running_mean of {len(wrong)} of the {judged} layers that can be judged is off by {off[0]:.2g} to "
        f"{off[-1]:.2g} standard deviations from what the weights give: the statistics belong to other weights"
        + BY_SIZE
        * by_size,
        remedy=REMEDY + AT_ITS_SIZE * by_size,
        evidence={"off": off[len(off) // 2], "worst": off[-1], "layers": len(wrong), "judged": judged},
        confidence="medium" if by_size else "high",
    )
