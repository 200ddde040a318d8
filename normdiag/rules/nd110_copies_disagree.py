"""ND110: copies of the model in one file, whose weights and statistics do not belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import Report
from normdiag.rules.rule import Draft, rule


@rule("ND110", "copies-disagree", "warning", weights=0.01, drift=0.1)
def copies_disagree(report: Report, limits: Mapping[str, float]) -> Iterator[Draft]:
    """A file holds two copies of the model, and the statistics of one were not made with its weights.

    What it means: a checkpoint often holds a moving average of the weights beside the model, or the replicas of
    several processes. Two things can be seen without data. Averaged weights with unaveraged statistics: the two
    differ in their weights, by more than 1 % (limit `weights`), and in gamma and beta, while their running statistics
    are equal to the last bit. Replicas that disagree: equal weights with statistics that are off by more than 0.1
    standard deviations (limit `drift`), each from its own share of the data.

    Why it matters: statistics belong to the weights that they were measured with. torch's AveragedModel averages the
    parameters alone unless it is told use_buffers=True, and needs update_bn afterwards; forgotten, that costs the
    averaged sample model 14 points of accuracy. It also works often enough, where the copies are close.

    What keeps it silent: copies that are close; norm layers whose gamma and beta are equal too, for they were frozen,
    and so were their statistics; statistics that are still initial; a file with one model alone, however it was made.

    How to fix it: recalibrate the averaged model on training data (torch.optim.swa_utils.update_bn), or average the
    statistics with the weights. With replicas, synchronize the statistics before saving.

    Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, section 3.2.
    """
    for each in report.copies:
        if each.statistics == 0 and each.weights > limits["weights"] and each.affine > 0:
            told = (
                f"has the running statistics of '{each.taken}' to the last bit, but weights that differ by "
                f"{100 * each.weights:.2g} %: they cannot fit both"
            )
            remedy = "Recalibrate the averaged copy on training data (update_bn), or average the statistics as well."
        elif each.weights == each.affine == 0 and each.statistics > limits["drift"]:
            told = (
                f"has the weights of '{each.taken}' to the last bit, but running statistics that are off by "
                f"{each.statistics:.2g} standard deviations"
            )
            remedy = "Synchronize the statistics of the replicas before saving, or recalibrate on all of the data."
        else:
            continue
        yield Draft(
            layers=(each.name,),
            text=told,
            remedy=remedy,
            evidence={"weights": each.weights, "affine": each.affine, "statistics": each.statistics},
            confidence="medium",
        )
