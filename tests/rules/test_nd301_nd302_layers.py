"""Which layer ND301 and ND302 name where small drift of one layer grows in those after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from normdiag.records import Gap
from tests.rules.test_rules import found, report, row

GAP = Gap("y", 0.9, 0.6, 0.1, 32, 500, 0.9, 0.1)


def test_nd301_names_the_layer_that_drifts_most_by_itself_where_none_does_enough() -> None:
    rows = [row("a", 0.1, 0.1), row("b", 0.42, 0.4), row("c", 0.9, 0.2), row("d", 0.8, 0.45)]
    (finding,) = found("ND301", report(*rows))
    assert (finding.layer, finding.confidence) == ("b", "medium")
    assert finding.evidence["inherited_by"] == 2
    assert "2 more layers inherit it" in finding.message


@pytest.mark.parametrize(("own", "layer"), [(0.2, "b"), (0.3, "b"), (0.35, "a")])
def test_nd301_looks_no_further_back_than_it_must(own: float, layer: str) -> None:
    (finding,) = found("ND301", report(row("a", own, own), row("b", 0.9, 0.3)))
    assert finding.layer == layer


def test_nd302_tells_the_layer_that_drifts_most_by_itself() -> None:
    (finding,) = found("ND302", report(row("a", 0.1, 0.1), row("b", 0.4, 0.4), row("c", 0.45, 0.2), gap=GAP))
    assert (finding.layer, finding.evidence["worst_layer"]) == (None, "b")
    assert "by itself, b drifts most (0.397)" in finding.message


def test_nd301_and_nd302_write_a_drift_alike() -> None:
    findings = report(row("a", 0.1, 0.1), row("b", 294.0, 294.0), gap=GAP)
    (drift,), (gap,) = found("ND301", findings), found("ND302", findings)
    assert "off by 294 " in drift.message and "b drifts most (294)" in gap.message


def test_nd302_names_no_layer_where_own_drift_is_unknown() -> None:
    (finding,) = found("ND302", report(row("a", 0.4, None), gap=GAP))
    assert finding.evidence["worst_layer"] is None


def test_nd302_says_that_it_speaks_of_an_output() -> None:
    """Outputs of exported models are often called by a number alone."""
    (finding,) = found("ND302", report(row("a", 0.4, None), gap=replace(GAP, output="32")))
    assert finding.message.startswith("output '32' differs by 0.9 of its RMS")
