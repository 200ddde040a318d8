"""Ranked preparations of the input, as a document."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from normdiag.records.document import Block, Column, Document, Paragraph, Phrase, Section, Table, facts, paragraph
from normdiag.records.preparation import PreparationReport, Preparations, RankedPreparation
from normdiag.report.abridge import Detail
from normdiag.report.header import model_rows
from normdiag.report.notes import bullets
from normdiag.report.words import MISSING, aligned_errors, count, listed, percent, short_name, shortened
from normdiag.wording import shell_path

# Rows of the table that are shown without --all.
ROWS = 12


def preprocess_document(report: PreparationReport, detail: Detail | None = None) -> Document:
    """The verdict, the ranking and what it cannot say."""
    detail = detail or Detail()
    data = shortened(report.source)
    sections = (
        Section("", (facts(*model_rows(report.model), ("data", data)),), opening=True),
        Section("Summary", tuple(_summary(report)), opening=True),
        _ranking(report.found, detail),
        *bullets("Notes", [*report.notes, *report.model.notes]),
    )
    return Document("normdiag preprocess", sections)


def _summary(report: PreparationReport) -> Iterator[Block]:
    found = report.found
    if found.best is not None:
        meaning = found.row(found.best).meaning
        yield paragraph(f"The stored statistics belong to --preprocess {found.best} ({meaning}).", "good")
        if report.arguments:
            yield Paragraph((Phrase("→ "), Phrase(_command(report, found.best), "command")))
    elif len(found.fitting) == 1:
        nearest = found.row(found.fitting[0])
        yield paragraph(f"{nearest.option} comes nearest to the stored statistics, but is not surely right.", "caution")
        yield paragraph(
            "More images tell more; so does normdiag inspect with it as --preprocess."
            if nearest.numbers_from == "preset"
            else f"It is {nearest.meaning}, which also makes up for other things that were done to the images: cut, "
            "resized, compressed or clipped. Hold it against the code of the training."
        )
    elif found.fitting:
        yield paragraph(f"These cannot be told apart here: {listed(found.fitting, 5)}.", "caution")
        yield paragraph("More images tell more; any of them fits the stored statistics.")
    else:
        yield paragraph("None of these preparations fits the stored statistics.", "caution")
        yield paragraph(
            "Either the statistics belong to other weights, or to images of another kind, cut, coarser or turned "
            "otherwise (normdiag inspect says which layers drift); or the input was prepared in a way that is not "
            "listed."
        )


def _command(report: PreparationReport, option: str) -> str:
    """The inspection with this preparation, ready to paste."""
    words = (*report.arguments, "--preprocess", option)
    return f"normdiag inspect {shell_path(report.model.path or '')} {' '.join(map(shlex.quote, words))}"


def _ranking(found: Preparations, detail: Detail) -> Section:
    shown = found.ranking if detail.all_layers else found.ranking[:ROWS]
    table = Table(
        count(len(found.ranking), "preparation"),
        [each.option for each in shown],
        [None] * len(shown),
        [
            Column("what it does", [each.meaning for each in shown], keep=0, right=False),
            Column("drift", aligned_errors([(each.drift, each.drift_se) for each in shown])),
            Column("entropy", [_entropy(each) for each in shown], keep=2),
            Column("answers changed", [_changed(each) for each in shown], "changed", keep=1),
            Column("", [_verdict(found, each) for each in shown], keep=3, right=False),
        ],
    )
    legend = (
        f"drift: of {listed(map(short_name, found.layers))}, in stored standard deviations; entropy: of the predicted "
        "classes in nats, small where the model is sure; answers changed: when the data's own statistics replace the "
        "stored ones"
    )
    hidden = len(found.ranking) - len(shown)
    more = (paragraph(f"… {count(hidden, 'more preparation')}, --all shows them", "muted"),) if hidden else ()
    return Section("Preparations, best first", (table, *more), legend)


def _entropy(each: RankedPreparation) -> str:
    return MISSING if each.entropy is None else f"{each.entropy:.3f}"


def _changed(each: RankedPreparation) -> str:
    return MISSING if each.answers_changed is None else percent(each.answers_changed)


def _verdict(found: Preparations, each: RankedPreparation) -> str:
    if each.option == found.best:
        return "best"
    if found.fitting == (each.option,):
        return "nearest"
    return "fits as well" if each.option in found.fitting else f"worse ({each.behind})" if each.behind else ""
