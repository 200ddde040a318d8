"""What differs between two models, as a document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from normdiag.records.diff import DiffReport, LayerDifference, TensorDifference, UnpairedLayer
from normdiag.records.document import Block, Column, Document, Phrase, Section, Table, facts, paragraph
from normdiag.report.abridge import Detail, choose, left_out
from normdiag.report.charts import differences_chart
from normdiag.report.diff_data import data_words, on_data_summary, places_section
from normdiag.report.header import model_rows
from normdiag.report.notes import bullets
from normdiag.report.words import KIND_WORDS, MISSING, count, listed, number, short_name, shortened

KINDS = {kind: words for kind, (words, _) in KIND_WORDS.items()} | {"conv_transpose": "transposed conv"}
# More units in the last place than this are no rounding, and their number says nothing.
TELLING_ULPS = 1e4
LEGEND = (
    "weights, γ β: root mean square of the difference over that of A; ulp: largest difference in units in the last "
    "place of the coarser dtype; statistics: distance in A's stored standard deviations"
)


def diff_document(report: DiffReport, detail: Detail | None = None) -> Document:
    """The whole comparison."""
    detail = detail or Detail()
    notes = [*report.notes, *report.a.notes, *report.b.notes]
    sections = (
        *_models(report),
        Section("Summary", (*on_data_summary(report), *_summary(report)), opening=True),
        *places_section(report, detail),
        *_changed(report, detail),
        *_unpaired(report, detail),
        *_matching(report, detail),
        *bullets("Notes", notes),
    )
    return Document("normdiag diff", sections)


def _models(report: DiffReport) -> Iterator[Section]:
    rows = []
    for letter, info in (("A", report.a), ("B", report.b)):
        (_, path), (_, kind), (_, size) = model_rows(info)
        words = (each.text if isinstance(each, Phrase) else each for each in (kind, size))
        rows += [(letter, path), ("", ", ".join(filter(None, words)))]
    if report.on_data is not None:
        rows.append(("data", data_words(report.on_data)))
    yield Section("", (facts(*rows),), opening=True)


def _summary(report: DiffReport) -> Iterator[Block]:
    total, changed = len(report.layers), report.changed
    paired = f"{count(total, 'layer')} paired"
    if not total:
        yield paragraph("No layer of A is one of B: these are different networks.", "bad")
        return
    stored = "Stored: " if report.on_data is not None else ""
    if not changed and not report.missing:
        yield paragraph(f"{stored or 'No difference: '}{paired}, all equal{_but_rounding(report)}.", "good")
    else:
        parts = [f"{stored}{paired}, " + (f"{len(changed):,} of them different" if changed else "all equal")]
        if report.missing:
            parts.append(f"{count(len(report.missing), 'layer')} could not be paired")
        yield paragraph(f"{'; '.join(parts)}.", "bad" if changed else "caution")
    folded = [*_folded(report.only_a), *_folded(report.only_b)]
    if folded:
        yield paragraph(f"Folded exactly: {listed(folded)}.")
    yield from map(paragraph, _moved(report))


def _but_rounding(report: DiffReport) -> str:
    rounded = [each for each in report.layers if each.folded is None and (each.weights or each.affine)]
    if not rounded:
        return ""
    dtypes = listed(dict.fromkeys(change.dtype for each in rounded for change in (each.weights, each.affine) if change))
    if report.tolerance:
        return f" but for differences of at most {number(report.tolerance)}"
    return f" but for rounding to {dtypes}"


def _folded(layers: Sequence[UnpairedLayer]) -> list[str]:
    return [f"{short_name(each.name)} into {short_name(each.folded_into)}" for each in layers if each.folded_into]


def _moved(report: DiffReport) -> Iterator[str]:
    """What moved and what did not, where that is telling."""
    norms = [each for each in report.layers if each.statistics is not None and each.folded is None]
    moved = [each for each in norms if each.statistics]
    weights = [each for each in report.layers if _really(each.weights) and each.folded is None]
    affine = [each for each in report.layers if _really(each.affine)]
    if moved and not weights and not affine:
        worst = max(moved, key=_by_statistics)
        yield (
            f"Statistics moved though weights did not: {count(len(moved), 'layer')}, {short_name(worst.a)} the "
            f"furthest ({number(worst.statistics)} stored deviations). Recalibrated, run in training mode, or another "
            "model's."
        )
    if norms and not moved and (weights or affine):
        yield (
            f"Weights moved though statistics did not: {count(len(weights) + len(affine), 'layer')}. Trained on with "
            "frozen BatchNorm, averaged without running the data again, or statistics taken from an older file."
        )
    training = [each for each in report.layers if any(setting.name == "training" for setting in each.settings)]
    if training:
        yes = next(setting for setting in training[0].settings if setting.name == "training").a == "yes"
        yield f"{'A' if yes else 'B'} is in training mode where the other is not: {listed(_names(training))}."


def _really(change: TensorDifference | None) -> bool:
    return change is not None and not change.rounding


def _by_statistics(each: LayerDifference) -> float:
    return each.statistics or 0.0


def _names(layers: Sequence[LayerDifference]) -> list[str]:
    return [short_name(each.a) for each in layers]


def _changed(report: DiffReport, detail: Detail) -> Iterator[Section]:
    rows = report.changed
    if not rows:
        return
    choice = choose([None] * len(rows), [_size(each) for each in rows], detail)
    shown = [rows[index] for index in choice.shown]
    changes = [each.weights or each.affine for each in shown]
    columns = [
        Column("kind", [_kind(each.kind) for each in shown], keep=0, right=False),
        Column("weights", [_relative(each.weights) for each in shown]),
        Column("γ β", [_relative(each.affine) for each in shown]),
        Column("ulp", [_ulps(each) for each in changes], keep=1),
        Column("statistics", [_deviations(each) for each in shown], "stat."),
        Column("settings", [_settings(each) for each in shown], keep=2, right=False),
    ]
    told = [column for column in columns if any(cell not in ("", MISSING) for cell in column.cells)]
    table = Table(count(len(rows), "layer"), _names(shown), [None] * len(shown), told)
    figures = (differences_chart(shown),) if detail.figures else ()
    yield Section("Layers that differ", (*figures, table, *left_out(choice, "layer")), LEGEND)


def _size(each: LayerDifference) -> float:
    changes = [change.relative for change in (each.weights, each.affine) if change is not None]
    return max([*changes, each.statistics or 0.0, 1.0 if each.settings else 0.0])


def _kind(kind: str) -> str:
    return KINDS.get(kind, kind)


def _relative(change: TensorDifference | None) -> str:
    return MISSING if change is None else "all" if math.isinf(change.relative) else number(change.relative)


def _ulps(change: TensorDifference | None) -> str:
    return MISSING if change is None else number(change.ulps) if change.ulps < TELLING_ULPS else "> 10,000"


def _deviations(each: LayerDifference) -> str:
    return MISSING if each.statistics is None else number(each.statistics)


def _settings(each: LayerDifference) -> str:
    return shortened(", ".join(f"{setting.name} {setting.a} → {setting.b}" for setting in each.settings))


def _unpaired(report: DiffReport, detail: Detail) -> Iterator[Section]:
    """Layers that only one of the two has."""
    rows = [("A", each) for each in report.only_a if not each.folded_into]
    rows += [("B", each) for each in report.only_b if not each.folded_into]
    if not rows:
        return
    choice = choose([None] * len(rows), [None] * len(rows), detail)
    shown = [rows[index] for index in choice.shown]
    columns = [
        Column("kind", [_kind(each.kind) for _, each in shown], right=False),
        Column("only in", [letter for letter, _ in shown], right=False),
    ]
    table = Table(count(len(rows), "layer"), [short_name(each.name) for _, each in shown], [None] * len(shown), columns)
    yield Section("Not paired", (table, *left_out(choice, "layer")))


def _matching(report: DiffReport, detail: Detail) -> Iterator[Section]:
    """Which layers were paired: all with --all, else those whose names are not the same."""
    rows = [each for each in report.layers if detail.whole_tables or each.by != "name"]
    if not rows:
        return
    choice = choose([None] * len(rows), [None] * len(rows), detail)
    shown = [rows[index] for index in choice.shown]
    columns = [
        Column("in B", [short_name(each.b) for each in shown], right=False),
        Column("kind", [_kind(each.kind) for each in shown], keep=0, right=False),
        Column("paired by", [each.by for each in shown], "by", keep=1, right=False),
    ]
    table = Table(count(len(rows), "pair"), _names(shown), [None] * len(shown), columns)
    by_name = sum(each.by == "name" for each in report.layers)
    legend = "" if detail.whole_tables else f"{by_name:,} more were paired by their names (--all shows them)"
    yield Section("Pairs", (table, *left_out(choice, "pair")), legend)
