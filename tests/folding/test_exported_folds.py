"""ONNX files as torch.onnx.export writes them, and ONNX files written out of folded modules, against PyTorch itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from normdiag.folding.checked import checked_plan
from tests.folding.zoo.oracle import Runner, close
from tests.folding.zoo.run import fold_onnx_file, torch_foldable
from tests.folding.zoo.torch_case import scrambled
from tests.nets.net import Net
from tests.nets.resnet import resnet18
from tests.nets.unet import UNet


def tokens() -> nn.Module:
    """A linear layer over tokens, its norm after a transpose, and a norm before the head."""
    parts = {"mix": nn.Linear(32, 6), "norm": nn.BatchNorm1d(6), "last": nn.BatchNorm1d(6), "head": nn.Linear(6, 4)}
    return Net(lambda s, x: s.head(s.last(torch.relu(s.norm(s.mix(x[:, 0]).transpose(1, 2))).mean(2))), **parts)


NETS = {"resnet18": (lambda: resnet18(8), 20), "unet": (lambda: UNet(4), 22), "tokens": (tokens, 2)}


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("way", ["exported_then_folded", "folded_then_exported"])
def test_both_ways_to_onnx(name: str, way: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    build, norms = NETS[name]
    module = scrambled(build())
    x = torch.randn(2, 3, 32, 32)
    if way == "exported_then_folded":
        torch.onnx.export(module, (x,), tmp_path / "original.onnx", dynamo=True, optimize=False, verbose=False)
        assert sum(n.op_type == "BatchNormalization" for n in onnx.load(tmp_path / "original.onnx").graph.node) == norms
        outcome = fold_onnx_file(tmp_path / "original.onnx", tmp_path / "folded.onnx")
        assert (len(outcome.plan.steps), outcome.plan.refusals) == (norms, ())
    else:
        foldable = torch_foldable(module, (x,))
        plan = checked_plan(foldable.graph)
        assert len(plan.steps) == norms
        foldable.fold(plan).write(tmp_path / "folded.onnx")
    folded = onnx.load(tmp_path / "folded.onnx")
    onnx.checker.check_model(folded, full_check=True)
    assert not any(node.op_type == "BatchNormalization" for node in folded.graph.node)
    with torch.no_grad():
        expected = module(x).numpy()
    (got,) = Runner(folded, exact=False)({folded.graph.input[0].name: np.asarray(x)}).values()
    close(got, expected, 1e-4)
