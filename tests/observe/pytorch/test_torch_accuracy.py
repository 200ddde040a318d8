"""Every number of a pass against full activations, taken by plain hooks and computed in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from normdiag.observe.gap import output_sums
from normdiag.ops import Activation
from normdiag.ops.selu import ALPHA as SELU_ALPHA
from normdiag.ops.selu import SCALE as SELU_SCALE
from normdiag.records import Batch
from tests.nets.resnet20 import load_resnet20, prepare
from tests.observe.pytorch.helpers import (
    STATISTICS,
    check_activation,
    check_drift,
    images,
    inputs_of,
    observe,
    runner,
    settled,
    with_batch_statistics,
)


def conv_net(dims: int) -> nn.Module:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = STATISTICS[dims - 1]
    torch.manual_seed(dims)
    return settled(
        nn.Sequential(
            conv(3, 8, 3),
            norm(8),
            nn.ReLU(inplace=True),
            conv(8, 12, 3),
            norm(12, eps=1e-3),
            nn.ReLU6(),
            nn.Flatten(),
            nn.LazyLinear(20),
            nn.BatchNorm1d(20),
            nn.Sigmoid(),
            nn.Linear(20, 5),
        )
    )


def is_batch_norm(layer: nn.Module) -> bool:
    return isinstance(layer, STATISTICS)


@pytest.mark.parametrize(("dims", "samples"), [(1, 2), (1, 9), (2, 7), (2, 16), (3, 5)])
def test_both_passes_of_random_nets(dims: int, samples: int) -> None:
    x = images(samples, 3, *[9] * dims, seed=dims)
    net = conv_net(dims)
    net(torch.from_numpy(x))
    check_both_passes(net, x)


def check_both_passes(net: nn.Module, x: np.ndarray) -> None:
    evidence = observe(net, x)
    other = with_batch_statistics(net)
    deployed, own = inputs_of(net, x, is_batch_norm), inputs_of(other, x, is_batch_norm)
    assert list(evidence.layers) == list(deployed)
    for name, layer in net.named_modules():
        if is_batch_norm(layer):
            seen = evidence.layers[name]
            assert seen.calls == 1
            assert seen.deployed.count == seen.own.count == len(x)
            check_drift(seen.deployed, deployed[name][0], layer)
            check_drift(seen.own, own[name][0], layer)
    with torch.no_grad():
        expected = output_sums(net(torch.from_numpy(x)).numpy(), other(torch.from_numpy(x)).numpy())
    (sums,) = evidence.outputs.values()
    np.testing.assert_allclose(sums.difference_square, expected.difference_square, rtol=1e-4)
    np.testing.assert_allclose(sums.reference_square, expected.reference_square, rtol=1e-5)
    assert (sums.rows, sums.disagreements) == (expected.rows, expected.disagreements)
    assert (evidence.samples, evidence.batch_size, evidence.gap_samples) == (len(x), len(x), len(x))


def test_resnet20_on_its_training_images(real: Callable[[str], Path]) -> None:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    check_both_passes(net, prepare(real("cifar10/train_1000.npz"))[:200])


def test_sums_of_batches_are_the_sums_of_the_whole() -> None:
    net, x = settled(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Hardswish())), images(10, 3, 8, 8)
    watched = runner(net)
    halves = watched.observe(Batch((x[:4],))) + watched.observe(Batch((x[4:],)))
    whole = watched.observe(Batch((x,)))
    np.testing.assert_allclose(
        halves.layers["1"].deployed.second[2], whole.layers["1"].deployed.second[2], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(halves.activations["2"].saturated, whole.activations["2"].saturated)


def test_one_sample_has_no_pass_b() -> None:
    net = settled(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)))
    evidence = observe(net, images(1, 3, 8, 8))
    assert evidence.gap_samples == 0
    assert not evidence.outputs
    assert evidence.layers["1"].own is None
    assert evidence.layers["1"].deployed.count == 1


def test_a_large_mean_beside_a_small_spread_costs_no_digits() -> None:
    """Raw float32 sums would be wrong in the first digit of the variance here."""
    norm = nn.BatchNorm2d(5)
    norm.running_mean.copy_(torch.tensor([100.0, -30.0, 0.0, 5.0, 1e4]))
    net = nn.Sequential(nn.Identity(), norm).eval()
    spread = np.array([0.01, 1.0, 1.0, 1e-4, 1.0], np.float32)[:, None, None]
    x = images(8, 5, 16, 16) * spread + norm.running_mean.numpy()[:, None, None]
    evidence = observe(net, x)
    for sums in (evidence.layers["1"].deployed, evidence.layers["1"].own):
        check_drift(sums, x.astype(np.float64), norm)
        mean, second = sums.m / sums.count, sums.q / sums.count
        np.testing.assert_allclose(second - mean**2, x.astype(np.float64).var((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "activation"),
    [
        (nn.ReLU(), Activation("relu")),
        (nn.ReLU(inplace=True), Activation("relu")),
        (nn.ReLU6(), Activation("relu6", low=0.0, high=6.0)),
        (nn.Hardtanh(-0.5, 1.5, inplace=True), Activation("clip", low=-0.5, high=1.5)),
        (nn.Sigmoid(), Activation("sigmoid")),
        (nn.Tanh(), Activation("tanh")),
        (nn.Hardsigmoid(), Activation("hard_sigmoid", alpha=1 / 6, beta=0.5)),
        (nn.Hardswish(inplace=True), Activation("hard_swish")),
        (nn.LeakyReLU(0.01), Activation("leaky_relu", alpha=0.01)),
        (nn.LeakyReLU(0.2, inplace=True), Activation("leaky_relu", alpha=0.2)),
        (nn.ELU(0.7), Activation("elu", alpha=0.7)),
        (nn.SELU(inplace=True), Activation("selu", SELU_ALPHA, SELU_SCALE)),
        (nn.GELU(), Activation("gelu")),
        (nn.GELU("tanh"), Activation("gelu_tanh")),
        (nn.SiLU(), Activation("silu")),
        (nn.Mish(), Activation("mish")),
        (nn.Softplus(beta=2), Activation("softplus", alpha=2.0)),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_saturation_and_derivatives(module: nn.Module, activation: Activation) -> None:
    x = images(4, 7, 11, 5) * 3.0
    x[:, 2] = -9.0  # a dead unit
    net = nn.Sequential(nn.Conv2d(7, 7, 1, bias=False), module)
    net[0].weight.data = torch.eye(7)[:, :, None, None]
    evidence = observe(net.eval(), x)
    assert list(evidence.activations) == ["1"]
    check_activation(evidence.activations["1"], activation, x)
    if activation.kind == "relu":
        assert evidence.activations["1"].saturated[2] == evidence.activations["1"].elements


@pytest.mark.parametrize(
    ("norm", "axes"),
    [(nn.LayerNorm(12), (2,)), (nn.LayerNorm((6, 12)), (1, 2)), (nn.RMSNorm(12), (2,))],
    ids=["layer", "layer over two axes", "rms"],
)
def test_groups_of_layer_norms(norm: nn.Module, axes: tuple[int, ...]) -> None:
    x = images(3, 6, 12) * np.linspace(0.1, 20, 12, dtype=np.float32)
    x[0, 0] = 1e-3  # a group without spread
    groups = observe(nn.Sequential(norm), x).layers["0"].groups
    values = x.astype(np.float64)
    spread = (values**2).mean(axes) if isinstance(norm, nn.RMSNorm) else values.var(axes)
    np.testing.assert_allclose(groups.variance_min, spread.min(), rtol=1e-5, atol=1e-18)
    assert groups.variances.counts.sum() == spread.size
    features = values.reshape(-1, np.prod([x.shape[axis] for axis in axes]))
    np.testing.assert_allclose(groups.channel_squares.sum(0), (features**2).sum(0), rtol=1e-5)
    assert (groups.group_size, groups.channel_counts.sum()) == (features.shape[1], features.shape[0])
    assert groups.abs_max == np.abs(x).max()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("norm", "groups"), [(nn.GroupNorm(4, 12), 4), (nn.InstanceNorm2d(12), 12)])
def test_groups_of_channels(norm: nn.Module, groups: int, layout: torch.memory_format) -> None:
    x = images(3, 12, 5, 4) + 40.0 * np.arange(12, dtype=np.float32)[:, None, None]
    net = nn.Sequential(nn.Identity(), norm).to(memory_format=layout)
    seen = observe(net, x).layers["1"].groups
    values = x.astype(np.float64)
    np.testing.assert_allclose(seen.variance_min, values.reshape(3, groups, -1).var(2).min(), rtol=1e-5)
    np.testing.assert_allclose(seen.channel_squares.sum(0), (values**2).sum((0, 2, 3)), rtol=1e-5)
    assert (seen.group_size, seen.channel_counts.sum()) == (12 // groups * 20, 60)
    assert seen.abs_max == np.abs(x).max()
