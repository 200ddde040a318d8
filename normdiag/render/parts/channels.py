"""The worst channels of one layer."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Report
from normdiag.render.detail import ChannelDetail, channel_detail, find_layer
from normdiag.render.layout import Line
from normdiag.render.parts.header import RANDOM
from normdiag.render.parts.prose import heading, prose
from normdiag.render.parts.tables import Column, Rows, name_table
from normdiag.render.view import View, kind_words
from normdiag.render.words import aligned_errors, count, fixed, number

CHANNELS = 20
LEGENDS = {
    "d": "z: shift in stored standard deviations; r: observed over stored standard deviation, with eps; "
    "d = sqrt(z^2 + (r - 1)^2); true d: the estimate without sampling noise",
    "channel_rms": "RMS of the layer's input in the channel, and over that of the median channel",
    "stored_std": "as stored, smallest standard deviation first",
    "gamma": "as stored, largest gamma first",
}


def channels(report: Report, view: View) -> Iterator[Line]:
    """The channels of the layer that the view asks for. Raises UsageError where there is no such layer."""
    if view.channels is None:
        return
    metrics = find_layer(report, view.channels)
    detail = channel_detail(metrics)
    title = f"Channels of {view.name(metrics.layer.name)} ({kind_words(metrics.layer)})"
    if detail is None:
        yield from heading(title, view, "Nothing is known of them.")
        return
    measured = metrics.drift is not None or metrics.groups is not None
    on = f" on {RANDOM}" if measured and report.data and report.data.random else ""
    shown = detail.order if view.all_layers else detail.order[:CHANNELS]
    rows = Rows("channel", [f"{index}" for index in shown], [None] * len(shown))
    yield from heading(title + on, view, LEGENDS[detail.ranked_by])
    yield from name_table(rows, _columns(detail, shown, view), view)
    hidden = len(detail.order) - len(shown)
    if hidden:
        more = f"{view.glyphs.ellipsis} {count(hidden, 'channel').replace(' ', ' more ', 1)}, --all shows them"
        yield from prose(more, view, style="dim")


def _columns(detail: ChannelDetail, shown: tuple[int, ...], view: View) -> list[Column]:
    values = {name: [float(column[index]) for index in shown] for name, column in detail.values.items()}

    def plain(name: str, title: str, short: str, keep: int) -> list[Column]:
        return [Column(title, list(map(number, values[name])), short, keep=keep)] if name in values else []

    def lined_up(name: str) -> list[Column]:
        return [Column(name, list(map(fixed, values[name])), keep=9)] if name in values else []

    pairs = list(zip(values.get("corrected_d", ()), values.get("se_d", ()), strict=True))
    glyphs = view.glyphs
    error = [Column("true d", aligned_errors(pairs, glyphs.plus_minus, glyphs.missing))] if pairs else []
    return [
        *plain("stored_mean", "stored mean", "mean", 3),
        *plain("observed_mean", "observed mean", "seen", 5),
        *plain("stored_std", "stored std", "std", 4),
        *plain("observed_std", "observed std", "seen", 6),
        *(column for name in "zrd" for column in lined_up(name)),
        *error,
        *plain("channel_rms", "input RMS", "RMS", 8),
        *plain("rms_over_median", "over median", "/median", 7),
        *plain("gamma", "gamma", "gamma", 2),
        *plain("beta", "beta", "beta", 1),
    ]
