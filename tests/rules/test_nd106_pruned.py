"""ND106 where nearly all of a layer is pruned."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rules.test_rules import bn, found, report


@pytest.mark.parametrize("left", [1, 3, 6])
def test_nd106_counts_where_nine_tenths_of_a_layer_and_more_are_zero(left: int) -> None:
    gamma = np.where(np.arange(64) < left, 0.7, 0.0)
    (finding,) = found("ND106", report(bn("a", channels=64, gamma=gamma), data=None))
    assert (finding.evidence["channels"], finding.severity) == (64 - left, "warning")
