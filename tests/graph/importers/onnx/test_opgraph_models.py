"""Whole models: third parties' and what torch.onnx writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from normdiag.records import Conv, Linear, Norm, Op, ScaleShift, Size, Split
from tests.graph.importers.onnx.graph_checks import by_output, check, only, read, why
from tests.graph.importers.onnx.site_checks import load_program
from tests.nets.exported import onnx_file
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import random_feeds


def foldable(ops: tuple[Op, ...]) -> list[Op]:
    return [op for op in ops if isinstance(op.detail, Norm) and op.detail.scale is not None]


REAL = {
    "ultraface/version-slim-320.onnx": (25, 0),
    "gtcrn/stream_onnx_models_gtcrn_simple.onnx": (11, 4),
    "magika/standard_v3_3.onnx": (0, 2),
    "magika/dense_v4_top_20230910.onnx": (0, 1),  # and one whose reshaped input is measured by others
    "basic_pitch/nmp.onnx": (0, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, real: Callable[[str], Path]) -> None:
    path = real(name)
    model = onnx.load(path)
    graph = check(model, random_feeds(model), path)
    norms = [op for op in graph.ops if op.kind == "norm"]
    assert (len(foldable(graph.ops)), len(norms) - len(foldable(graph.ops))) == REAL[name]
    listed = {site.layer.name for site in load_program(path).sites}
    assert listed <= {op.name for op in norms} | {layer.name for layer, _ in graph.unreached}


def test_gtcrn_norms_stand_behind_convolutions(real: Callable[[str], Path]) -> None:
    path = real("gtcrn/stream_onnx_models_gtcrn_simple.onnx")
    graph = read(onnx.load(path), path)
    for op in foldable(graph.ops):
        detail = by_output(graph, op.inputs[0]).detail
        assert isinstance(detail, Conv)
        assert detail.weight.shared_with == ()


class Shuffle(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class OneOfEach(nn.Module):
    """One of each: shuffle, chunk, residual, upsampling, flatten, BatchNorm1d on vectors and on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.ReLU()
        self.bn1 = nn.BatchNorm2d(8)
        self.shuffle = Shuffle()
        self.up = nn.Upsample(scale_factor=2)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 6)
        self.bn2 = nn.BatchNorm1d(6)
        self.ln = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shuffle(self.bn1(self.act(self.conv1(x))))
        a, b = x.chunk(2, 1)
        x = self.up(torch.cat([b, a], 1)) + 0.0 * functional.interpolate(x, scale_factor=2.0)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.act(self.bn2(self.act(self.fc(self.drop(x)))))
        return self.ln(x)


class Tokens(nn.Module):
    """Linear layers on (N, T, C), BatchNorm between transposes, a position that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 6)
        self.fc2 = nn.Linear(6, 4, bias=False)
        self.bn = nn.BatchNorm1d(6)
        self.position = nn.Parameter(torch.randn(1, 7, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.fc1(x) + self.position)
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        return self.fc2(x).mean(1)


def export(module: nn.Module, x: torch.Tensor, path: Path, dynamo: bool) -> onnx.ModelProto:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    as_usual = {"optimize": True, "external_data": False} if dynamo else {}
    return onnx.load(onnx_file(module.eval(), x, path, dynamo=dynamo, input_names=["x"], **as_usual))


@pytest.mark.exports
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_exported_images(dynamo: bool, tmp_path: Path) -> None:
    model = export(OneOfEach(), torch.randn(2, 3, 8, 8), tmp_path / "net.onnx", dynamo)
    graph = check(model, {"x": np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)})
    assert [op.name for op in foldable(graph.ops)] == ["bn1", "bn2"]
    assert {op.name for op in graph.ops} >= {"conv1", "fc", "act", "ln"}
    assert only(graph, Split).detail == Split(1, (4, 4))
    assert only(graph, Conv).name == "conv1"
    # The channels can be followed through the shuffle and through flatten.
    (batch, *_rest) = graph.sizes["x"]
    assert graph.sizes[only(graph, Split).inputs[0]] == (batch, Size(8), Size(8), Size(8))
    assert graph.sizes[foldable(graph.ops)[1].inputs[0]] == (batch, Size(6))


@pytest.mark.exports
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_exported_tokens(dynamo: bool, tmp_path: Path) -> None:
    model = export(Tokens(), torch.randn(2, 7, 5), tmp_path / "tokens.onnx", dynamo)
    graph = check(model, {"x": np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32)})
    assert [op.name for op in foldable(graph.ops)] == ["bn"]
    linears = [op for op in graph.ops if isinstance(op.detail, Linear)]
    assert [op.name for op in linears] == ["fc1", "fc2"]
    assert not [op for op in graph.ops if isinstance(op.detail, ScaleShift)]


def test_local_functions_are_closed() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[N,4,3] x) => (float[N,4,3] y)
    <float[4] s = {1, 2, 3, 4}> { a = BatchNormalization(x, s, s, s, s)  y = own.norm(a, s) }
    <domain: "own", opset_import: ["" : 17]>
    norm (x, s) => (y) { y = BatchNormalization(x, s, s, s, s) }"""
    model = onnx.parser.parse_model(text)
    graph = read(model)
    assert len(foldable(graph.ops)) == 1
    ((_, reason),) = graph.unreached
    assert "local function" in reason
    assert why(graph, "y") == "a function of the model's own"


def test_custom_domains_are_closed() -> None:
    model = from_text("g (float[N,4] x) => (y) { y = some.where.Conv(x, gamma4) }", 17, ("some.where",))
    assert why(read(model), "y") == "an operator of the domain 'some.where'"


def test_shape_readers_do_not_count() -> None:
    graph = read(from_text("g (float[N,4] x) => (y, z) { a = Relu(x)  y = Shape(a)  z = Identity(a) }"))
    assert by_output(graph, "y").inputs == ()
