"""The experiment that the split of the gap is held against."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.split import moments, outputs, recalibrated, scatter, share, shifted


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)).eval()


def test_pooled_statistics_are_those_of_all_values() -> None:
    given, x = net(), torch.randn(64, 4)
    mean, var = moments(given, x, 8)["1"].pooled()
    inner = given[0](x).double()  # type: ignore[index]
    assert torch.allclose(mean, inner.mean(0), atol=1e-6)
    assert torch.allclose(var, inner.var(0, correction=0), atol=1e-6)
    assert given[1].num_batches_tracked == 0, "the model is left as it was"  # type: ignore[index]


def test_statistics_that_are_the_datas_own_leave_noise_alone() -> None:
    x = torch.randn(64, 4)
    own = recalibrated(net(), x, 8)
    assert share(own, x, 8) == pytest.approx(0.0, abs=1e-6)
    assert share(shifted(own, 3.0), x, 8) > 0.9
    assert torch.equal(outputs(own, x, 8), outputs(own, x, 64)), "no dropout"


def test_statistics_of_small_batches_scatter_more() -> None:
    x = torch.randn(512, 4)
    own = recalibrated(net(), x, 512)
    small, large = scatter(own, x, 8)["1"], scatter(own, x, 32)["1"]
    assert small / large == pytest.approx(2.0, rel=0.25)
