"""Trained models and the usual architectures: how many norms go, and that the folded model does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.folding.zoo.oracle import Runner, close, feeds
from tests.folding.zoo.run import Outcome, fold_onnx_file, fold_torch
from tests.folding.zoo.torch_case import scrambled
from tests.nets.densenet import densenet121
from tests.nets.inception import InceptionV3
from tests.nets.mnist import digits, load_mnist
from tests.nets.mobilenet_v2 import MobileNetV2
from tests.nets.regnet import RegNetY
from tests.nets.resnet import resnet18
from tests.nets.resnet20 import load_resnet20, prepare
from tests.nets.unet import UNet

Real = Callable[[str], Path]
# Norms, and how many of them stand after a convolution that nobody else reads.
NETS = {
    resnet18: (1 + 4 * 4 + 3, 20),
    MobileNetV2: (1 + 2 + 16 * 3 + 1, 52),
    # Before the ReLU of each dense layer, of each transition and of the head stands a norm that reads a sum of blocks.
    densenet121: (1 + 58 * 2 + 3 + 1, 1 + 58),
    InceptionV3: (5 + 3 * 7 + 4 + 4 * 10 + 6 + 2 * 9, 94),
    RegNetY: (1 + 16 * 3 + 4, 53),
    UNet: (9 * 2 + 4, 22),
}
SIZES = {InceptionV3: 80, UNet: 32}


def batch_norms(outcome: Outcome) -> int:
    """Those left in the folded program."""
    return sum("batch_norm" in str(node.target) for node in outcome.program.graph.nodes)


def same(module: nn.Module, folded: nn.Module, x: Tensor, tolerance: float) -> None:
    with torch.no_grad():
        close(folded(x).numpy(), module(x).numpy(), tolerance)


@pytest.mark.parametrize("net", list(NETS))
def test_architectures(net: type[nn.Module]) -> None:
    """In float64, with random gamma: half of them as good as none, or negative."""
    torch.manual_seed(5)
    norms, expected = NETS[net]
    module = scrambled(net()).double()
    assert sum(isinstance(part, nn.BatchNorm2d) for part in module.modules()) == norms
    x = torch.randn(2, 3, SIZES.get(net, 64), SIZES.get(net, 64), dtype=torch.float64)
    outcome = fold_torch(module, (x,))
    assert (len(outcome.plan.steps), len(outcome.plan.refusals)) == (expected, norms - expected)
    assert batch_norms(outcome) == norms - expected
    assert all(refusal.reason and refusal.at for refusal in outcome.plan.refusals)
    same(module, outcome.model, x, 1e-9)


def test_resnet20_is_as_right_as_before(real: Real) -> None:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    images = real("cifar10/test_100.npz")
    x = torch.from_numpy(prepare(images))
    labels = np.load(images)["y"]
    outcome = fold_torch(net, (x[:4],))
    assert len(outcome.plan.steps) == 19
    assert batch_norms(outcome) == 0
    with torch.no_grad():
        before, after = net(x), outcome.model(x)
    assert (before.argmax(1).numpy() == labels).sum() == 94
    assert (after.argmax(1).numpy() == labels).sum() == 94
    close(after.numpy(), before.numpy(), 1e-5)


def test_mnist_folds_forwards_and_backwards(real: Real) -> None:
    """norm1 stands after a ReLU and goes through flatten into fc1; norm2 goes into fc2."""
    net = load_mnist(real("burn/mnist.pt"))
    x, labels = digits(real("mnist/t10k-images-idx3-ubyte.gz"), real("mnist/t10k-labels-idx1-ubyte.gz"), 1000)
    outcome = fold_torch(net, (x[:4],))
    ways = {step.norm: (step.direction, step.into) for step in outcome.plan.steps}
    assert ways == {"norm1": ("after", ("fc1",)), "norm2": ("before", ("fc2",))}
    with torch.no_grad():
        before, after = net(x), outcome.model(x)
    assert (before.argmax(1).numpy() == labels).mean() > 0.98
    assert (after.argmax(1) == before.argmax(1)).all()
    close(after.numpy(), before.numpy(), 1e-4)


def test_ultraface_equals_what_someone_else_folded(real: Real, tmp_path: Path) -> None:
    path = real("ultraface/version-slim-320.onnx")
    outcome = fold_onnx_file(path, tmp_path / "folded.onnx")
    assert (len(outcome.plan.steps), outcome.plan.refusals) == (25, ())
    assert "BatchNormalization" not in {node.op_type for node in outcome.model.graph.node}
    onnx.checker.check_model(outcome.model, full_check=True)
    original, theirs = onnx.load(path), onnx.load(real("ultraface/version-slim-320_simplified.onnx"))
    feed = {"input": np.random.default_rng(0).uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32)}
    # Their copy ends before the boxes are decoded: at the second of the joins of all four scales.
    raw = [node.output[0] for node in original.graph.node if node.op_type == "Concat" and len(node.input) == 4][1]
    for model in (original, outcome.model):
        model.graph.output.append(onnx.ValueInfoProto(name=raw))
    before, after, copy = (Runner(model, exact=False)(feed) for model in (original, outcome.model, theirs))
    for name, values in before.items():
        close(after[name], values, 1e-5, name)
    close(after["scores"], copy["scores"], 1e-5)
    close(after[raw], copy["boxes"], 1e-5)


def test_gtcrn_behind_transposed_convolutions(real: Real, tmp_path: Path) -> None:
    """A streaming model: its caches go in and come out."""
    path = real("gtcrn/stream_onnx_models_gtcrn_simple.onnx")
    outcome = fold_onnx_file(path, tmp_path / "folded.onnx")
    norms = [step for step in outcome.plan.steps if step.kind == "batch_norm"]
    original = onnx.load(path)
    assert sum(node.op_type == "BatchNormalization" for node in original.graph.node) == 11
    assert not any(node.op_type == "BatchNormalization" for node in outcome.model.graph.node)
    assert len(norms) >= 11
    assert sum("ConvTranspose" in name for step in norms for name in step.into) >= 1
    before, after = Runner(original, exact=False), Runner(outcome.model, exact=False)
    feed = next(feeds(original))
    for _ in range(3):
        expected, got = before(feed), after(feed)
        for name, values in expected.items():
            close(got[name], values, 1e-4, name)
        caches = [name for name in feed if name != "mix"]
        written = [values for name, values in expected.items() if name != original.graph.output[0].name]
        feed = {"mix": feed["mix"], **dict(zip(caches, written, strict=True))}
