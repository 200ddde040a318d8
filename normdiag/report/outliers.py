"""What stands out of the values that norms normalize: massive activations, and what a rotation would take away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from normdiag.records import Report
from normdiag.records.document import Block, Bullets, Column, Section, Table, paragraph
from normdiag.report.abridge import Detail, choose, left_out
from normdiag.report.words import MISSING, count, fixed, listed, number, short_name

if TYPE_CHECKING:
    from normdiag.records.outliers import MassiveActivation, NormOutliers

LEGEND = (
    "crest: max |x| over the RMS of a group, kurtosis: 3 for a Gaussian, both as the mean over groups of the first "
    "samples, and after a random rotation of the features; outlier channels: RMS above 5 times the median channel's"
)
WHY = (
    "Massive activations are no fault by themselves: trained transformers use them as biases of the attention. A "
    "quantizer with one scale, and pruning by size, lose by them."
)
MOST = 12


def outliers(report: Report, detail: Detail) -> Iterator[Section]:
    """A row for each LayerNorm and RMSNorm, and each feature with massive activations."""
    found = report.outliers
    if not found:
        return
    choice = choose([None] * len(found), [each.crest for each in found], detail)
    shown = [found[index] for index in choice.shown]
    columns = [
        Column("crest", [fixed(each.crest) for each in shown]),
        Column("rotated", [_or_missing(each.rotated_crest) for each in shown]),
        Column("kurtosis", [fixed(each.kurtosis) for each in shown], "kurt.", keep=2),
        Column("rotated", [_or_missing(each.rotated_kurtosis) for each in shown], "rot.", keep=1),
        *_channels(shown),
    ]
    names = [short_name(each.layer) for each in shown]
    table = Table(count(len(found), "norm"), names, [None] * len(shown), columns)
    blocks = (table, *left_out(choice, "norm"), *_massive(found, detail))
    yield Section("What stands out of the norms' inputs", blocks, LEGEND)


def _channels(shown: list[NormOutliers]) -> list[Column]:
    if not any(each.features for each in shown):
        return []
    return [Column("outlier channels", [listed(f"#{f}" for f in each.features) for each in shown], "outliers", keep=3)]


def _massive(found: tuple[NormOutliers, ...], detail: Detail) -> Iterator[Block]:
    lines = [f"{short_name(each.layer)}: {_sentence(one)}" for each in found for one in each.massive]
    if not lines:
        return
    kept = lines if detail.whole_tables else lines[:MOST]
    yield paragraph("Massive activations (above 100, and 1000 times the median):")
    yield Bullets(tuple(kept))
    if len(lines) > len(kept):
        yield paragraph(f"… {count(len(lines) - len(kept), 'more feature')}, --all shows them", "muted")
    yield paragraph(WHY, "muted")


def _sentence(one: MassiveActivation) -> str:
    word = "token" if len(one.tokens) == 1 else "tokens"
    where = f" at {word} {listed(map(str, one.tokens), 5)}" if one.tokens else ""
    size = f"up to {number(one.largest)}, {number(one.ratio)} times the median"
    return f"feature {one.feature}{where}: {size}, {count(one.values, 'value')}"


def _or_missing(value: float | None) -> str:
    return MISSING if value is None else fixed(value)
