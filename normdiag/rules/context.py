"""What a rule looks at."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records import FoldPlan, OpGraph, Report


@dataclass(frozen=True, eq=False)
class Context:
    """The report without its findings and, where the computation is known, its graph and what can be folded in it.

    The two stand beside the report, not in it: a graph holds all of the weights, and a report is kept.
    """

    report: Report
    graph: OpGraph | None = None
    folds: FoldPlan | None = None
