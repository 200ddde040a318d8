"""A profile, as a document."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.metrics.points import point_figures
from normdiag.records import Profile
from normdiag.records.document import Column, Document, Phrase, Section, Table, facts, paragraph
from normdiag.report.abridge import Detail
from normdiag.report.header import FORMATS
from normdiag.report.notes import bullets
from normdiag.report.words import count, listed, number, percent, shortened

# Rows of the table that are shown without --all.
ROWS = 24
LEGEND = (
    "mean and deviation: over all channels of what enters a norm or an activation, of the inputs and of the outputs; "
    "known to: standard error of a channel's mean, in deviations"
)


def profile_document(profile: Profile, detail: Detail | None = None, *, written: str | None = None) -> Document:
    """What it is of, what it was measured on, and its points; `written` is the file that it went to."""
    detail = detail or Detail()
    sections = (
        Section("", (facts(*_rows(profile, written)),)),
        _points(profile, detail),
        *bullets("Notes", profile.notes),
    )
    return Document("normdiag profile", sections)


def _rows(profile: Profile, written: str | None) -> Iterator[tuple[str, str | Phrase]]:
    model, data = profile.model, profile.data
    yield "model", Phrase(shortened(model.path) if model.path else "a module in memory", "strong")
    yield "format", FORMATS.get(model.format, shortened(model.format))
    yield "sha256", shortened(model.sha256 or "")
    yield "data", f"{listed(map(shortened, data.sources))}, {count(data.samples, 'sample')}"
    yield "preprocess", shortened(data.preprocess or "")
    yield "errors", f"from {profile.groups} groups of the samples"
    yield "written", "" if written is None else shortened(written)


def _points(profile: Profile, detail: Detail) -> Section:
    points = list(profile.points.items())
    shown = points if detail.all_layers else points[:ROWS]
    figures = [point_figures(sums) for _, sums in shown]
    table = Table(
        count(len(points), "point"),
        [point.name for point, _ in shown],
        [None] * len(shown),
        [
            Column("what", [point.kind or point.role for point, _ in shown], keep=1, right=False),
            Column("channels", [f"{sums.channels:,}" for _, sums in shown], keep=0),
            Column("mean", [number(each.mean) for each in figures]),
            Column("deviation", [number(each.deviation) for each in figures]),
            Column("known to", [percent(each.known_to) for each in figures], keep=2),
        ],
    )
    hidden = len(points) - len(shown)
    more = (paragraph(f"… {count(hidden, 'more point')}, --all shows them", "muted"),) if hidden else ()
    return Section("Points, from the input to the output", (table, *more), LEGEND)
