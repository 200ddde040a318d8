"""Which rows of a long table are worth showing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from normdiag.records import Finding, Severity
from normdiag.records.document import Paragraph, paragraph
from normdiag.report.words import SEVERITIES, count

# A table up to WHOLE rows is shown whole, a longer one is cut to ROWS: there is no point in hiding two.
WHOLE, ROWS = 30, 24


@dataclass(frozen=True)
class Detail:
    """How much is said: every row of long tables and every finding, the channels of one layer.

    `figures`: for a page, with figures, every row of the tables, and each layer in detail.
    """

    all_layers: bool = False
    channels: str | None = None
    figures: bool = False

    @property
    def whole_tables(self) -> bool:
        """Whether every row of a table is shown."""
        return self.all_layers or self.figures


@dataclass(frozen=True)
class ShownRows:
    """The rows shown, in network order, and how many were left out, some of them with findings."""

    shown: list[int]
    hidden: int = 0
    hidden_findings: int = 0


def severities(findings: Sequence[Finding]) -> dict[str, Severity]:
    """The severest finding of each layer that has one; what is for information counts where it is on that layer alone.

    Else a remark on nearly all of them, that they can be folded say, would mark every row.
    """
    worst: dict[str, Severity] = {}
    for severity in reversed(SEVERITIES):
        telling = (f for f in findings if f.severity == severity and (severity != "info" or len(f.layers) == 1))
        worst.update({layer: severity for finding in telling for layer in finding.layers})
    return worst


def choose(ranks: Sequence[Severity | None], weights: Sequence[float | None], detail: Detail) -> ShownRows:
    """All rows of a short table or with --all; else those with findings, the first, the last, and the largest weights.

    `ranks` holds the severest finding of each row and `weights` what makes a row worth seeing; NaN counts as largest.
    """
    n = len(ranks)
    if detail.whole_tables or n <= WHOLE:
        return ShownRows(list(range(n)))

    def importance(row: int) -> tuple[int, bool, float]:
        severity, weight = ranks[row], weights[row]
        by_finding = -len(SEVERITIES) if severity is None else -SEVERITIES.index(severity)
        by_weight = -math.inf if weight is None else math.inf if math.isnan(weight) else weight
        return (by_finding, row in (0, n - 1), by_weight)

    ranked = sorted(range(n), key=importance, reverse=True)
    hidden = ranked[ROWS:]
    return ShownRows(sorted(ranked[:ROWS]), len(hidden), sum(ranks[row] is not None for row in hidden))


def left_out(choice: ShownRows, noun: str) -> tuple[Paragraph, ...]:
    """'… 37 more layers, --all shows them', where there are any."""
    if not choice.hidden:
        return ()
    more = count(choice.hidden, noun).replace(" ", " more ", 1)
    findings = f" ({choice.hidden_findings:,} with findings)" if choice.hidden_findings else ""
    return (paragraph(f"… {more}{findings}, --all shows {'it' if choice.hidden == 1 else 'them'}", "muted"),)
