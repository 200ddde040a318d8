"""BatchNorm that exporters fold away: told from what torch.onnx really writes, and from names that other tools give."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from normdiag.records import FoldedNorm
from tests.graph.importers.onnx.site_checks import load_model, load_program
from tests.nets.net import Net
from tests.nets.onnx.text import from_text

DYNAMO, OLD = "torch.onnx (dynamo)", "torch.onnx"
RNG = np.random.default_rng(5)


def conv_and_linear() -> nn.Module:
    """A convolution and a linear layer with a norm each; the older exporter folds the first alone."""
    first = {"conv": nn.Conv2d(3, 4, 3, bias=False), "bn1": nn.BatchNorm2d(4)}
    last = {"fc": nn.Linear(4, 5), "bn2": nn.BatchNorm1d(5)}
    return Net(lambda s, x: s.bn2(s.fc(s.bn1(s.conv(x)).relu().mean((2, 3)))), **first, **last)


def plain() -> nn.Module:
    """No norm at all; weight normalization has the exporter rewrite a weight."""
    convs = {"conv1": weight_norm(nn.Conv2d(3, 4, 3)), "conv2": nn.Conv2d(4, 4, 3, bias=False)}
    return Net(lambda s, x: s.conv2(s.conv1(x).relu()), **convs)


def export(module: nn.Module, path: Path, *, dynamo: bool, **options: bool) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.randn(2, 3, 8, 8)
        torch.onnx.export(module.eval(), (x,), path, dynamo=dynamo, **options)
    return path


@pytest.mark.exports
def test_the_newer_exporter_names_what_it_folds(tmp_path: Path) -> None:
    program = load_program(export(conv_and_linear(), tmp_path / "net.onnx", dynamo=True))
    assert program.sites == ()
    assert program.folded == (
        FoldedNorm("bn1", "conv", DYNAMO, certain=True),
        FoldedNorm("bn2", "fc", DYNAMO, certain=True),
    )


def test_the_older_exporter_folds_in_part_and_renames_weights(tmp_path: Path) -> None:
    program = load_program(export(conv_and_linear(), tmp_path / "net.onnx", dynamo=False))
    assert [site.layer.name for site in program.sites] == ["bn2"]
    assert program.folded == (FoldedNorm(None, "conv", OLD, certain=False),)


@pytest.mark.exports
@pytest.mark.parametrize(("dynamo", "option"), [(True, "optimize"), (False, "do_constant_folding")])
def test_the_options_that_the_report_names_keep_the_norms(dynamo: bool, option: str, tmp_path: Path) -> None:
    program = load_program(export(conv_and_linear(), tmp_path / "net.onnx", dynamo=dynamo, **{option: False}))
    assert [site.layer.name for site in program.sites] == ["bn1", "bn2"] and program.folded == ()


@pytest.mark.exports
@pytest.mark.parametrize("dynamo", [True, False])
def test_a_model_without_norms_has_none_folded(dynamo: bool, tmp_path: Path) -> None:
    program = load_program(export(plain(), tmp_path / "net.onnx", dynamo=dynamo))
    assert program.sites == () and program.folded == ()


@pytest.mark.parametrize(
    ("weight", "bias", "tool"),
    [
        ("model/conv/Conv2D_weights_fused_bn", "model/conv/Conv2D_bias_fused_bn", "tf2onnx"),
        ("ConvBnFusion_W_conv.weight", "ConvBnFusion_BN_B_bn.bias", "onnxruntime"),
        ("402", "404", OLD),
        ("onnx::Conv_35", "onnx::Conv_36", OLD),
        ("onnx::Conv_35", "conv.bias", None),
        ("conv.weight", "conv.bias", None),
    ],
)
def test_names_of_rewritten_weights(weight: str, bias: str, tool: str | None, tmp_path: Path) -> None:
    program = load_model(tmp_path, conv_with(weight, bias, named="other.weight"))
    assert [each.tool for each in program.folded] == ([] if tool is None else [tool])


def test_numbers_say_nothing_where_every_weight_has_one(tmp_path: Path) -> None:
    assert load_model(tmp_path, conv_with("402", "404", named="7")).folded == ()


def conv_with(weight: str, bias: str, named: str):
    """A convolution with parameters of these names, before one whose weight is called `named`."""
    text = "g (float[1,3,8,8] x) => (float[1,4,4,4] y) { h = Conv(x, W, B) y = Conv(h, V) }"
    arrays = {"W": RNG.normal(size=(4, 3, 3, 3)), "B": RNG.normal(size=4), "V": RNG.normal(size=(4, 4, 3, 3))}
    model = from_text(text, **{name: array.astype(np.float32) for name, array in arrays.items()})
    new = {"W": weight, "B": bias, "V": named}
    for tensor in model.graph.initializer:
        tensor.name = new[tensor.name]
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    return model
