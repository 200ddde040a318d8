"""ND104: running statistics that still hold their initial values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import NormLayer
from normdiag.rules.batch import uses_batch
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule
from normdiag.rules.stored import agreed, contradicted, is_all, is_initial


@rule("ND104", "never-updated", "warning", drift=0.5, agrees=0.1)
def never_updated(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """All means of a layer are exactly 0 and all variances exactly 1: the initial values, never updated.

    Why it matters: in eval mode the layer does not normalize at all. It happens where a model was trained with the
    statistics frozen or in eval mode, where buffers were not saved or not averaged with the weights, or where only
    parameters were loaded. num_batches_tracked is not asked: converted weights have 0 there with good statistics.

    What keeps it silent: data that agrees with 0 and 1 in every such layer, with a drift whose interval reaches below
    the limit `agrees`, since then 0 and 1 are right (another tool may have moved the statistics into gamma and beta);
    and a layer that does not use its statistics (ND201). Where data surely shows a drift above `drift` it is an error:
    one layer at half a standard deviation cost 30 points of accuracy. Without data it is a warning, and information
    where the whole model looks untrained: no layer's statistics were updated, and of each layer beta is all 0 still
    (gamma may begin at 1, at random around 1, or at 0 as in residual branches), or gamma all 0, or gamma all 1 where
    there is no beta.

    How to fix it: recalibrate on training data, or load the buffers that belong to the weights.

    Source: torch.nn.modules.batchnorm, reset_running_stats.
    """
    used = [each for each in context.report.layers if not uses_batch(each.layer, context.report.model)]
    untouched = [each for each in used if is_initial(each.layer)]
    with_statistics = [each for each in used if each.layer.has_statistics]
    untrained = len(untouched) == len(with_statistics) and all(_fresh(each.layer) for each in untouched)
    if untouched and all(agreed(metrics, limits["agrees"]) for metrics in untouched):
        return
    for metrics in untouched:
        drifted = contradicted(metrics, limits["drift"])
        yield FindingDraft(
            layers=(metrics.layer.name,),
            text="running_mean is all 0 and running_var all 1: never updated"
            + (" (nor, it seems, gamma and beta: an untrained model?)" if untrained else ""),
            remedy="Recalibrate the statistics on training data, or load the buffers that belong to these weights.",
            evidence={"channels": metrics.layer.channels},
            severity="error" if drifted else "info" if untrained else "warning",
            confidence="high" if drifted else "medium",
        )


def _fresh(layer: NormLayer) -> bool:
    """Whether gamma and beta look as an initializer leaves them: nearly all begin with a beta of 0."""
    if layer.beta is not None and is_all(layer.beta, 0.0):
        return True
    if layer.gamma is None:
        return layer.beta is None
    return is_all(layer.gamma, 0.0) or (layer.beta is None and is_all(layer.gamma, 1.0))
