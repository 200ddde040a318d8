"""The gap between outputs under batch statistics and under the stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import Attribution, Gap, Report
from normdiag.render.layout import BLANK, Line, Span
from normdiag.render.parts.header import RANDOM
from normdiag.render.parts.prose import heading, pairs, prose
from normdiag.render.parts.tables import Column, Rows, name_table
from normdiag.render.view import View
from normdiag.render.words import count, number, percent

ATTRIBUTED = 10


def gap(report: Report, view: View) -> Iterator[Line]:
    """How much the outputs differ, why, and, where asked for, through which layers."""
    seen = report.gap
    if seen is None:
        return
    on = f" on {RANDOM}" if report.data and report.data.random else ""
    title = f"Gap between batch statistics and stored statistics{on}"
    where = f"Output {view.name(seen.output)}, {count(seen.samples, 'sample')} in batches of {seen.batch_size:,}."
    yield from heading(title, view, where)
    yield from pairs(_measures(seen), view)
    if seen.attribution is not None:
        yield from _attribution(seen.attribution, view)


def _measures(seen: Gap) -> list[tuple[str, str | Span]]:
    rows: list[tuple[str, str | Span]] = [("relative RMS difference", percent(seen.relative_rms))]
    if seen.top1_disagreement is not None:
        rows.append(("top-1 disagreement", percent(seen.top1_disagreement)))
    if seen.js_divergence is not None:
        rows.append(("Jensen-Shannon divergence", f"{number(seen.js_divergence)} nats"))
    if seen.explained_drift is not None and seen.explained_noise is not None:
        drift, noise = percent(seen.explained_drift), percent(seen.explained_noise)
        rows.append(("explained by", f"drift {drift}, batch noise {noise}"))
    return rows


def _attribution(ranked: Sequence[Attribution], view: View) -> Iterator[Line]:
    yield BLANK
    yield from prose("What goes of the gap when the data's statistics replace the stored ones in one layer:", view)
    shown = ranked if view.all_layers else ranked[:ATTRIBUTED]
    rows = Rows("layer", [view.name(a.layer) for a in shown], [None] * len(shown))
    yield from name_table(rows, [Column("gap removed", [percent(a.removed) for a in shown], "removed")], view)
    if len(ranked) > len(shown):
        more = f"{view.glyphs.ellipsis} {count(len(ranked) - len(shown), 'more layer')}, --all shows them"
        yield from prose(more, view, style="dim")
