"""TorchScript and torch.export programs: the same numbers as the module they were made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normdiag.records import Batch
from tests.observe.pytorch.helpers import bits, images, observe, runner, settled


class EveryNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.GELU())
        self.instance = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.plain = nn.InstanceNorm2d(8)
        self.ln, self.fc, self.bn1 = nn.LayerNorm(8), nn.Linear(8, 5), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.act(self.bn(self.conv(x))))
        x = torch.selu(self.plain(self.instance(x))).mean((2, 3))
        return self.bn1(torch.sigmoid(self.fc(self.ln(x))))


def exported(net: nn.Module, x: Tensor) -> nn.Module:
    return torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()


MAKERS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "scripted": lambda net, _: torch.jit.script(net),
    "traced": torch.jit.trace,
    "inside another module": lambda net, _: nn.Sequential(torch.jit.script(net)),
    "exported": exported,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_programs_give_the_numbers_of_their_module(make: Callable[[nn.Module, Tensor], nn.Module]) -> None:
    net, x = settled(EveryNorm()), images(6, 3, 12, 12)
    program = make(net, torch.from_numpy(x))
    before, expected = bits(program), observe(net, x)
    seen = observe(program, x)
    assert bits(program) == before
    names = [name.removeprefix("0.") for name in seen.layers]
    assert names == ["bn", "block.1", "instance", "instance_norm", "ln", "bn1"]
    for ours, theirs in zip(seen.layers.values(), expected.layers.values(), strict=True):
        assert ours.calls == theirs.calls
        for kind in ("deployed", "own"):
            if getattr(theirs, kind) is not None:
                np.testing.assert_allclose(getattr(ours, kind).q, getattr(theirs, kind).q, rtol=1e-4)
        if theirs.groups is not None:
            np.testing.assert_allclose(
                ours.groups.channel_squares.sum(0), theirs.groups.channel_squares.sum(0), rtol=1e-4
            )
            assert ours.groups.group_size == theirs.groups.group_size
    for ours, theirs in zip(seen.activations.values(), expected.activations.values(), strict=True):
        assert ours.kind == theirs.kind
        np.testing.assert_allclose(ours.saturated, theirs.saturated, atol=1)
        np.testing.assert_allclose(ours.derivative_square, theirs.derivative_square, rtol=1e-4)
    gap, expected_gap = seen.outputs["output"], expected.outputs["output"]
    np.testing.assert_allclose(gap.difference_square, expected_gap.difference_square, rtol=1e-3)


def test_a_traced_batch_norm_learns_its_eps_from_its_call() -> None:
    """A traced module keeps eps in its graph alone."""
    net = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-2)))
    x = images(4, 3, 6, 6)
    watched = runner(torch.jit.trace(net, torch.from_numpy(x)))
    assert watched.layers()[0].eps is None
    watched.observe(Batch((x,)))
    assert watched.layers()[0].eps == pytest.approx(1e-2)
