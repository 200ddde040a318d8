"""Cases that rest on a reference: the input was prepared otherwise, or the data is of another kind."""

from __future__ import annotations

from contextlib import suppress

from normdiag.data.recipe import parse_recipe
from normdiag.diagnosis.cause import ON_DATA, Case
from normdiag.diagnosis.evidence.against import Against, factor
from normdiag.errors import UsageError
from normdiag.records import Report

TEST = "compare a few samples with those of the reference, before and after they are prepared"


def prepared_otherwise(report: Report, known: Against) -> Case | None:
    """The input itself has moved from the reference."""
    moved = known.input
    if moved is None:
        return None
    drift, scale, option = moved.drift, factor(moved), _other_option(report, known)
    told = f"the input '{moved.point.name}' has moved from the reference by {drift.corrected:.3g} ± {drift.se:.2g}"
    told += " standard deviations"
    if scale is not None:
        told += f" and is {scale:.3g} times as widely spread"
    if option is not None:
        told += f"; the reference was prepared by {known.found.data.preprocess}, this by {_preparation(report)}"
    sure = option is not None or (scale is not None and not 0.67 < scale < 1.5)
    return Case(
        known.names,
        0.9 if sure else 0.6,
        "The input is not prepared as for the reference.",
        told,
        ON_DATA,
        confidence="high" if sure else "medium",
        alternatives=() if option is not None else ("domain_shift",),
        test="" if option is not None else TEST,
        action="fix_input",
        remedy="" if option is not None else "Prepare the input as for the reference: scale, mean, order of channels.",
        option=option,
    )


def of_another_kind(known: Against) -> Case | None:
    """The input has the moments that it had, and what the layers make of it has not."""
    if known.input is not None or all(each.point.role == "output" for each in known.moved):
        return None  # where an output alone has moved, it is rather the model that is another
    first, most = known.moved[0], known.most
    values = "mean and deviation of the input are as in the reference, but from" if known.found.at("input") else "from"
    return Case(
        known.names,
        0.6,
        "The data is not like that of the reference.",
        f"{values} '{first.point.name}' on layers see other values, by up to {most.drift.corrected:.2g} ± "
        f"{most.drift.se:.2g} standard deviations at '{most.point.name}'",
        ON_DATA,
        confidence="medium",
        alternatives=("input_preparation",),
        test=TEST,
    )


def _other_option(report: Report, known: Against) -> str | None:
    """The preparation of the reference as an option, where it is known and is not that of this run."""
    there, here = known.found.data.preprocess, _preparation(report)
    if there is None or here is None or there.partition(" (")[0] == here.partition(" (")[0]:
        return None
    plain = known.found.data.option or there.partition(" (")[0]
    with suppress(UsageError):
        parse_recipe(plain)
        return plain
    return None


def _preparation(report: Report) -> str | None:
    return None if report.data is None else report.data.preprocess
