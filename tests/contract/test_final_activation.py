"""A sigmoid that makes the model's output may be as sure as it likes; the same inside the model may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import normdiag
from normdiag import Report
from tests.nets.exported import onnx_file


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.sigmoid(20 * self.first(x)))


class Outer(Inner):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(20 * self.second(functional.relu(self.first(x)))).reshape(-1, 3, 1)


def report_of(backend: str, net: nn.Module, folder: Path) -> Report:
    torch.manual_seed(0)
    model: nn.Module | Path = net.eval()
    if backend == "onnx":
        model = onnx_file(net, torch.zeros(2, 4), folder / "net.onnx", dynamo=False)
    data = np.random.default_rng(0).normal(size=(128, 4)).astype(np.float32) * 3
    return normdiag.inspect(model, data)


@pytest.mark.parametrize("backend", ["pytorch", "onnx"])
@pytest.mark.parametrize(("net", "final", "rules"), [(Inner, False, ["ND401"]), (Outer, True, [])])
@pytest.mark.filterwarnings("ignore")
def test_only_the_output_may_saturate(
    backend: str, net: type[nn.Module], final: bool, rules: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    report = report_of(backend, net(), tmp_path)
    last = report.activations[-1]
    assert last.kind == "sigmoid"
    assert last.saturated_fraction > 0.5
    assert last.final is final
    assert [finding.rule for finding in report.findings] == rules
