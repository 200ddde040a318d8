"""Programs that were exported for a fixed number of samples: run on any, where running shows that it is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import normdiag
from normdiag.graph import open_model
from normdiag.observe.pytorch import TorchRunner
from normdiag.observe.pytorch.batch_axis import takes_any
from normdiag.records import Batch, InputSpec

X = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)


class Viewing(nn.Module):
    """A convolution, BatchNorm, a view that holds the number of samples, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.head(x.view(x.shape[0], -1))


class Attending(nn.Module):
    """A class token for each sample, attention with heads in the batch, tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.embed, self.norm, self.last = nn.Linear(24, 12), nn.LayerNorm(12), nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.embed(x.reshape(n, 8, 24))
        x = torch.cat([self.token.expand(n, -1, -1), x], 1).transpose(0, 1)
        length = x.shape[0]
        q = self.norm(x).reshape(length, n * 3, 4).transpose(0, 1)
        p = (q @ q.transpose(1, 2)).softmax(-1) @ q
        y = p.transpose(0, 1).reshape(length * n, 12).reshape(length, n, 12)
        return self.last((x + y).permute(1, 2, 0)).mean(-1)


class Halves(nn.Module):
    """Exported for four samples, and silently another computation on any other number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1).mean(1, keepdim=True) + x.sum()


@pytest.mark.exports
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", [Viewing, Attending])
def test_a_program_for_a_fixed_number_of_samples_runs_on_any(
    kind: type[nn.Module], samples: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = kind().eval()
    program = torch.export.export(net, (torch.randn(samples, 3, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    expected = net(torch.from_numpy(X)).detach().numpy()
    for model in (open_model(tmp_path / "net.pt2", run=True), open_model(program.module())):
        run = TorchRunner(model)
        assert run.fixed_batch is None
        np.testing.assert_allclose(next(iter(run.outputs(Batch((X,))).values())), expected, rtol=1e-4, atol=1e-5)
        evidence = run.observe(Batch((X,)))
        assert evidence.gap_samples == len(X) and all(
            each.own is not None or each.groups for each in evidence.layers.values()
        )


@pytest.mark.exports
def test_a_live_program_is_left_as_it_was() -> None:
    module = torch.export.export(Viewing().eval(), (torch.randn(2, 3, 8, 8),)).module()
    before = str(module.graph)
    report = normdiag.inspect(module, X)
    assert str(module.graph) == before and report.data is not None and report.data.batch_size == len(X)
    with pytest.raises(AssertionError, match="Guard failed"):
        module(torch.from_numpy(X))


def test_a_fixed_number_of_samples_is_told_by_what_comes_out() -> None:
    spec = InputSpec("x", "float32", (4, 6))
    for module, free in ((nn.Linear(6, 2), True), (Halves(), False), (nn.Linear(5, 2), False)):
        assert takes_any(module, module, [spec]) == free
