"""The worst channels of one layer."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Report
from normdiag.records.document import Block, Column, Section, Table, paragraph
from normdiag.report.abridge import Detail
from normdiag.report.channel_values import ChannelDetail, channel_detail, find_layer
from normdiag.report.header import RANDOM
from normdiag.report.words import aligned_errors, count, fixed, kind_words, number, short_name

CHANNELS = 20
LEGENDS = {
    "d": "z: shift in stored standard deviations; r: observed over stored standard deviation, with eps; "
    "d = sqrt(z^2 + (r - 1)^2); true d: the estimate without sampling noise",
    "channel_rms": "RMS of the layer's input in the channel, and over that of the median channel",
    "stored_std": "as stored, smallest standard deviation first",
    "gamma": "as stored, largest gamma first",
}


def channels(report: Report, detail: Detail) -> Iterator[Section]:
    """The channels of the layer that is asked for. Raises UsageError where there is no such layer."""
    if detail.channels is None:
        return
    metrics = find_layer(report, detail.channels)
    values = channel_detail(metrics)
    title = f"Channels of {short_name(metrics.layer.name)} ({kind_words(metrics.layer)})"
    if values is None:
        yield Section(title, (), "Nothing is known of them.")
        return
    measured = metrics.drift is not None or metrics.groups is not None
    on = f" on {RANDOM}" if measured and report.data and report.data.random else ""
    shown = values.order if detail.all_layers else values.order[:CHANNELS]
    table = Table("channel", [f"{index}" for index in shown], [None] * len(shown), _columns(values, shown))
    yield Section(title + on, (table, *_hidden(len(values.order) - len(shown))), LEGENDS[values.ranked_by])


def _hidden(channels: int) -> tuple[Block, ...]:
    if not channels:
        return ()
    return (paragraph(f"… {count(channels, 'channel').replace(' ', ' more ', 1)}, --all shows them", "muted"),)


def _columns(detail: ChannelDetail, shown: tuple[int, ...]) -> list[Column]:
    values = {name: [float(column[index]) for index in shown] for name, column in detail.values.items()}

    def plain(name: str, title: str, short: str, keep: int) -> list[Column]:
        return [Column(title, list(map(number, values[name])), short, keep=keep)] if name in values else []

    def lined_up(name: str) -> list[Column]:
        return [Column(name, list(map(fixed, values[name])), keep=9)] if name in values else []

    pairs = list(zip(values.get("corrected_d", ()), values.get("se_d", ()), strict=True))
    error = [Column("true d", aligned_errors(pairs))] if pairs else []
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
