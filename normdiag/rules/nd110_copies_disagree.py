"""ND110: copies of the model in one file, whose weights and statistics do not belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import CopyComparison, Severity
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule

RECALIBRATE = "Recalibrate the averaged copy on training data (update_bn), or average the statistics as well."


@rule("ND110", "copies-disagree", "warning", weights=0.01, drift=0.1)
def copies_disagree(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A file holds two copies of the model, and the statistics of one were not made with its weights.

    What it means: a checkpoint often holds a moving average of the weights beside the model, or the replicas of
    several processes. Two things can be seen without data. Averaged weights with unaveraged statistics: the two
    differ in their weights, by more than 1 % (limit `weights`), and in gamma and beta, while their running statistics
    are equal to the last bit. Replicas that disagree: equal weights with statistics that are off by more than 0.1
    standard deviations (limit `drift`), each from its own share of the data.

    Why it matters: statistics belong to the weights that they were measured with. torch's AveragedModel averages the
    parameters alone unless it is told use_buffers=True, and needs update_bn afterwards; forgotten, that costs the
    averaged sample model 14 points of accuracy. It also works often enough, where the copies are close.

    Equal statistics are right, however, where they were frozen while gamma and beta were trained (norm_eval in
    detection): both copies have learned to live with them. So they are a warning only where they were updated in the
    training that the file is from: num_batches_tracked differs between the copies, or is the number of steps that the
    file tells of (an optimizer's step, global_step, n_averaged). Elsewhere they are information, for the file does not
    tell the one from the other.

    What keeps it silent: copies that are close; norm layers whose gamma and beta are equal too, for they were frozen,
    and so were their statistics; a num_batches_tracked of 0 in both, for then no training has updated the statistics;
    statistics that are still initial; a file with one model alone, however it was made.

    How to fix it: recalibrate the averaged model on training data (torch.optim.swa_utils.update_bn), or average the
    statistics with the weights. With replicas, synchronize the statistics before saving.

    Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, section 3.2.
    """
    for each in context.report.copies:
        if each.statistics == 0 and each.weights > limits["weights"] and each.affine > 0 and each.tracked != (0, 0):
            yield _averaged(each)
        elif each.weights == each.affine == 0 and each.statistics > limits["drift"]:
            yield _draft(
                each,
                f"has the weights of '{each.taken}' to the last bit, but running statistics that are off by "
                f"{each.statistics:.2g} standard deviations",
                "Synchronize the statistics of the replicas before saving, or recalibrate on all of the data.",
                "warning",
            )


def _averaged(each: CopyComparison) -> FindingDraft:
    """A warning where the statistics were surely updated in training."""
    updated = each.in_training or (each.tracked is not None and each.tracked[0] != each.tracked[1])
    meant = (
        "they were updated in training, and cannot fit both"
        if updated
        else "right if the statistics were frozen in training, wrong if the weights alone were averaged"
    )
    return _draft(
        each,
        f"has the running statistics of '{each.taken}' to the last bit, but weights that differ by "
        f"{100 * each.weights:.2g}%: {meant}",
        RECALIBRATE if updated else f"If they were not frozen: {RECALIBRATE}",
        "warning" if updated else "info",
    )


def _draft(each: CopyComparison, text: str, remedy: str, severity: Severity) -> FindingDraft:
    evidence = {"weights": each.weights, "affine": each.affine, "statistics": each.statistics}
    return FindingDraft((each.name,), text, remedy, evidence, severity=severity, confidence="medium")
