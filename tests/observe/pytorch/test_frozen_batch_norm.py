"""FrozenBatchNorm2d, as torchvision, detectron2 and DETR have it: a class of its own, whose parameters are buffers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from tests.nets.norms_by_hand import FrozenBatchNorm2d

X = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 + 1


def frozen() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4, None), nn.ReLU(), nn.Conv2d(4, 5, 3), FrozenBatchNorm2d(5, None)
    )


def plain() -> nn.Module:
    net = frozen()
    for index, n in ((1, 4), (4, 5)):
        norm = nn.BatchNorm2d(n)
        norm.load_state_dict(net[index].state_dict(), strict=False)  # type: ignore[index]
        net[index] = norm  # type: ignore[operator]
    return net


def test_it_is_measured_like_a_batch_norm_and_said_to_be_frozen() -> None:
    one, other = normdiag.inspect(frozen(), [X]), normdiag.inspect(plain(), [X])
    for layer, same in zip(one.layers, other.layers, strict=True):
        assert layer.layer.kind == "batch_norm" and layer.layer.class_name == "FrozenBatchNorm2d"
        assert layer.layer.eps == 1e-5 and any("frozen" in note for note in layer.layer.notes)
        assert layer.drift is not None and same.drift is not None
        assert layer.drift.rms == pytest.approx(same.drift.rms, rel=1e-4)
        assert layer.own is not None and same.own is not None and layer.own.rms == pytest.approx(same.own.rms, rel=1e-3)
    assert one.gap is not None and other.gap is not None
    assert one.gap.relative_rms == pytest.approx(other.gap.relative_rms, rel=1e-3)


def test_it_is_recalibrated() -> None:
    net = frozen()
    changed = normdiag.recalibrate(net, [X]).model
    y = net[0](X).detach().numpy()  # type: ignore[index]
    np.testing.assert_allclose(changed[1].running_mean, y.mean((0, 2, 3)), atol=0.1)
