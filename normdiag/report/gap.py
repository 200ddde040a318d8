"""The gap between outputs under batch statistics and under the stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import Attribution, Gap, LayerMetrics, Report
from normdiag.records.document import Block, Column, Section, Space, Table, facts, paragraph
from normdiag.report.abridge import Detail
from normdiag.report.charts import attribution_chart
from normdiag.report.header import RANDOM
from normdiag.report.words import count, number, percent, short_name

ATTRIBUTED = 10


def gap(report: Report, detail: Detail) -> Iterator[Section]:
    """How much the outputs differ, why, and, where asked for, through which layers."""
    seen = report.gap
    if seen is None:
        return
    on = f" on {RANDOM}" if report.data and report.data.random else ""
    title = f"Gap between batch statistics and stored statistics{on}"
    where = f"Output {short_name(seen.output)}, {count(seen.samples, 'sample')} in batches of {seen.batch_size:,}."
    attributed = () if seen.attribution is None else _attribution(seen.attribution, report.layers, detail)
    yield Section(title, (facts(*_measures(seen)), *attributed), where)


def _measures(seen: Gap) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = [("relative RMS difference", percent(seen.relative_rms))]
    if seen.top1_disagreement is not None:
        rows.append(("top-1 disagreement", percent(seen.top1_disagreement)))
    if seen.js_divergence is not None:
        rows.append(("Jensen-Shannon divergence", f"{number(seen.js_divergence)} nats"))
    if seen.explained_drift is not None and seen.explained_noise is not None:
        drift, noise = percent(seen.explained_drift), percent(seen.explained_noise)
        rows.append(("explained by", f"drift {drift}, batch noise {noise}"))
    return rows


def _attribution(ranked: Sequence[Attribution], layers: Sequence[LayerMetrics], detail: Detail) -> Iterator[Block]:
    yield Space()
    yield paragraph("What goes of the gap when the data's statistics replace the stored ones in one layer:")
    shown = ranked if detail.whole_tables else ranked[:ATTRIBUTED]
    removed = Column("gap removed", [percent(a.removed) for a in shown], "removed")
    if detail.figures:
        yield attribution_chart(shown, layers)
    yield Table("layer", [short_name(a.layer) for a in shown], [None] * len(shown), [removed])
    if len(ranked) > len(shown):
        yield paragraph(f"… {count(len(ranked) - len(shown), 'more layer')}, --all shows them", "muted")
