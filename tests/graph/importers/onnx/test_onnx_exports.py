"""What torch.onnx really writes, by both of its exporters."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from normdiag.models.onnx import OnnxProgram
from tests.graph.importers.onnx.site_checks import check_sites, load_program
from tests.nets.norms_by_hand import LlamaRMSNorm


class Block(nn.Module):
    """Pre-activation, so that no exporter can fold the norm into a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(8)
        self.act = nn.ReLU6()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.silu(x + self.conv1(self.act(self.bn1(x))))


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(Block(), Block())
        self.gn = nn.GroupNorm(2, 8)
        self.mish = nn.Mish()
        self.inorm = nn.InstanceNorm2d(8, affine=True)
        self.plain = nn.InstanceNorm2d(8)
        self.swish = nn.Hardswish()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.swish(self.plain(self.inorm(self.mish(self.gn(self.layer1(x))))))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(16)
        self.norm2 = LlamaRMSNorm(16)
        self.fc = nn.Linear(16, 16)
        self.g = nn.GELU()
        self.gt = nn.GELU(approximate="tanh")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gt(self.fc(self.g(self.fc(self.norm2(self.norm1(x))))))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Attention()])
        self.last = nn.LayerNorm((5, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.last(x)


EXPORTS = {
    "dynamo": {"dynamo": True},
    "dynamo 23": {"dynamo": True, "opset_version": 23},
    "unoptimized": {"dynamo": True, "optimize": False},
    "torchscript": {"dynamo": False},
    "torchscript 11": {"dynamo": False, "opset_version": 11},
}
INPUTS = {Image: torch.randn(2, 8, 6, 6), Tokens: torch.randn(2, 5, 16)}


def export(kind: type[nn.Module], how: str, folder: Path) -> OnnxProgram:
    torch.manual_seed(0)
    model = kind().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dtype.is_floating_point:
                tensor.uniform_(0.5, 1.5)
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (INPUTS[kind],), str(path), verbose=False, **EXPORTS[how])
    return load_program(path)


def check(program: OnnxProgram, kind: type[nn.Module], names: dict[str, str]) -> None:
    assert {site.layer.name: site.layer.kind for site in program.sites} == names
    assert program.notes == ()
    check_sites(program, {program.inputs[0].name: INPUTS[kind].numpy().astype(np.float32)})


@pytest.mark.parametrize("how", ["dynamo", "unoptimized", "torchscript", "torchscript 11"])
def test_image_network(how: str, tmp_path: Path) -> None:
    program = export(Image, how, tmp_path)
    names = {
        "layer1.0.bn1": "batch_norm",
        "layer1.1.bn1": "batch_norm",
        "gn": "group_norm",
        "inorm": "instance_norm",
        "plain": "instance_norm",
    }
    check(program, Image, names)
    kinds = ["relu6", "silu", "relu6", "silu", "mish", "hard_swish"]
    assert [site.function.kind for site in program.activations] == kinds
    assert {site.unit_axis for site in program.activations} == {1}
    names = ["layer1.0.act", "layer1.0.silu", "layer1.1.act", "layer1.1.silu", "mish", "swish"]
    assert [site.name for site in program.activations] == names
    assert {site.layer.eps for site in program.sites} == {1e-5}


@pytest.mark.parametrize("how", ["dynamo 23", "unoptimized", "torchscript"])
def test_token_network(how: str, tmp_path: Path) -> None:
    program = export(Tokens, how, tmp_path)
    names = {
        f"blocks.{i}.{name}": kind for i in (0, 1) for name, kind in (("norm1", "layer_norm"), ("norm2", "rms_norm"))
    }
    check(program, Tokens, {**names, "last": "layer_norm"})
    assert [(site.name, site.function.kind, site.unit_axis) for site in program.activations] == [
        ("blocks.0.g", "gelu", -1),
        ("blocks.0.gt", "gelu_tanh", -1),
        ("blocks.1.g", "gelu", -1),
        ("blocks.1.gt", "gelu_tanh", -1),
    ]


@pytest.mark.parametrize("how", ["dynamo", "torchscript"])
def test_instance_norm_with_running_statistics_is_no_batch_norm(how: str, tmp_path: Path) -> None:
    """Both exporters write a BatchNormalization of all samples side by side, with its parameters as often."""
    norm = nn.InstanceNorm2d(8, affine=True, track_running_stats=True).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(nn.Sequential(norm, nn.Sigmoid()), (INPUTS[Image],), str(path), verbose=False, **EXPORTS[how])
    (site,) = load_program(path).sites
    assert (site.layer.kind, site.layer.channels, site.watchable) == ("instance_norm", 8, False)
    np.testing.assert_array_equal(site.layer.running_var, norm.running_var.numpy())


def test_a_batch_norm_without_gamma_whose_ones_the_graph_makes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Sigmoid(), nn.BatchNorm2d(8, affine=False)).eval()
        torch.onnx.export(model, (INPUTS[Image],), str(path), verbose=False, dynamo=True, optimize=False)
    (site,) = load_program(path).sites
    assert site.layer.kind == "batch_norm" and site.layer.gamma is not None and (site.layer.gamma == 1).all()
