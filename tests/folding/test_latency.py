"""What folding gains is said only where it is more than the noise."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from normdiag.folding.latency import measured
from normdiag.records import Batch, Latency
from normdiag.records.model import Array
from tests.report.fold_reports import proven

BATCH = Batch((np.zeros((1, 1), np.float32),))


class Waits:
    """Takes `seconds`, and every third time much longer, as on a busy machine."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.runs = seconds, 0

    def run(self, batch: Batch) -> Mapping[str, Array]:
        self.runs += 1
        time.sleep(self.seconds * (10 if self.runs % 3 == 0 else 1))
        return {}


def test_a_difference_is_found() -> None:
    found = measured(Waits(0.008), Waits(0.002), BATCH)
    assert found.differs and found.ratio[1] < 0.75
    assert 0.008 <= found.before < 0.02 and 0.002 <= found.after < 0.008


def test_the_same_twice_is_no_difference() -> None:
    same = Latency(2e-3, 1.9e-3, (0.9, 1.05))
    assert not same.differs
    assert Latency(2e-3, 2.2e-3, (1.02, 1.2)).differs


def test_the_report_says_so() -> None:
    from normdiag.report.fold import _latency

    assert "(no more than noise)" in _latency(proven(latency=Latency(2e-3, 1.9e-3, (0.9, 1.05))))
    assert "(25.0% more)" in _latency(proven(latency=Latency(2e-3, 2.5e-3, (1.1, 1.3))))
    assert _latency(proven(latency=None)) == ""
