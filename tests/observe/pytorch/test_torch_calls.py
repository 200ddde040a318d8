"""What is seen and by which name: functional calls, reuse, control flow, look-alikes, dtypes and wrappers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normdiag.models.pytorch import module_layers
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.records import Batch
from tests.nets.net import Net
from tests.nets.norms_by_hand import FrozenBatchNorm2d, LayerNorm2d, LlamaRMSNorm
from tests.observe.pytorch.helpers import (
    bits,
    check_drift,
    images,
    inputs_of,
    observe,
    runner,
    settled,
    with_batch_statistics,
)


class Functional(nn.Module):
    """Every norm and many activations as functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.register_buffer("mean", torch.full((6,), 0.2))
        self.register_buffer("var", torch.full((6,), 0.7))
        self.gamma = nn.Parameter(torch.full((6,), 1.3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(self.conv(x), self.mean, self.var, weight=self.gamma, eps=1e-3)
        x = F.relu(x)
        x = torch.batch_norm(x, None, None, self.mean, self.var, False, 0.1, 1e-5, False).relu()
        x = F.instance_norm(x, self.mean, self.var, use_input_stats=False)
        x = F.group_norm(torch.sigmoid(x), 3)
        x = x.mean((2, 3))
        x = F.layer_norm(F.gelu(x, approximate="tanh"), (6,), eps=1e-4)
        return F.rms_norm(x.tanh(), (6,), eps=1e-5)


def test_functional_calls_are_seen_once_each() -> None:
    watched = runner(Functional().eval())
    evidence = watched.observe(Batch((images(4, 3, 6, 6),)))
    names = ["batch_norm", "batch_norm_2", "instance_norm", "group_norm", "layer_norm", "rms_norm"]
    assert list(evidence.layers) == names
    assert list(evidence.activations) == ["relu", "relu_2", "sigmoid", "gelu_tanh", "tanh"]
    assert all(layer.calls == 1 for layer in evidence.layers.values())
    assert evidence.layers["batch_norm"].own is not None
    layers = watched.layers()
    assert [layer.name for layer in layers] == names
    assert {layer.origin for layer in layers} == {"function"}
    assert [layer.eps for layer in layers] == [1e-3, 1e-5, 1e-5, 1e-5, 1e-4, 1e-5]
    np.testing.assert_allclose(layers[0].running_var, np.full(6, 0.7), rtol=1e-6)
    np.testing.assert_allclose(layers[0].gamma, np.full(6, 1.3), rtol=1e-6)


class StandardizedConv(nn.Conv2d):
    """The convolution of BiT, which gives each row of its weight mean 0 and variance 1 with a batch_norm."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias)


def test_a_standardized_weight_is_no_norm() -> None:
    net = nn.Sequential(StandardizedConv(3, 4, 3), nn.GroupNorm(2, 4), StandardizedConv(4, 4, 3))
    watched = runner(net.eval())
    assert list(watched.observe(Batch((images(4, 3, 6, 6),))).layers) == ["1"]


def test_functional_batch_norm_uses_batch_statistics_in_pass_b() -> None:
    x = images(6, 5, 4, 4) * 3 + 1
    watched = runner(Net(lambda s, x: F.batch_norm(x, torch.zeros(5), torch.ones(5))))
    changed = watched.outputs(Batch((x,)), batch_statistics=True)["output"]
    np.testing.assert_allclose(changed.mean((0, 2, 3)), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(changed.var((0, 2, 3)), np.ones(5), rtol=1e-4)


def test_calls_in_submodules_carry_their_path() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(F.layer_norm(x, x.shape[1:]))
            return F.silu(F.silu(self.act(x)))

    evidence = observe(nn.Sequential(Block(), Block()), images(3, 4))
    assert list(evidence.layers) == ["0.layer_norm", "1.layer_norm"]
    assert list(evidence.activations) == [
        f"{block}.{name}" for block in (0, 1) for name in ("act", "act_2", "silu", "silu_2")
    ]


def test_a_module_used_twice_counts_each_call() -> None:
    net, x = settled(Net(lambda s, x: s.bn(s.bn(x) * 2 + 1), bn=nn.BatchNorm1d(4))), images(5, 4)
    layer = observe(net, x).layers["bn"]
    calls = inputs_of(net, x, lambda module: module is net.bn)["bn"]
    assert layer.calls == 2
    assert layer.deployed.count == layer.own.count == 10
    check_drift(layer.deployed, np.concatenate(calls), net.bn)


def test_control_flow_that_depends_on_the_data() -> None:
    norms = {name: nn.BatchNorm1d(4) for name in ("low", "high", "never")}
    watched = runner(Net(lambda s, x: s.high(x) if x.mean() > 0 else s.low(x), **norms).eval())
    assert list(watched.observe(Batch((images(4, 4) + 9,))).layers) == ["high"]
    assert list(watched.observe(Batch((images(4, 4) - 9,))).layers) == ["low"]
    layers = {layer.name: layer.notes for layer in watched.layers()}
    assert list(layers) == ["high", "low", "never"]
    assert layers == {"high": (), "low": (), "never": ("did not run on this data",)}


def test_before_anything_ran_layers_are_in_module_order() -> None:
    watched = runner(Net(lambda s, x: s.second(s.first(x)), second=nn.BatchNorm1d(4), first=nn.LayerNorm(4)).eval())
    assert [layer.name for layer in watched.layers()] == ["second", "first"]
    watched.observe(Batch((images(4, 4),)))
    assert [layer.name for layer in watched.layers()] == ["first", "second"]


def test_dropout_stays_off_in_pass_b() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4)).train()
    x = images(8, 4)
    changed = runner(net).outputs(Batch((x,)), batch_statistics=True)["output"]
    with torch.no_grad():
        expected = with_batch_statistics(net)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(changed, expected, rtol=1e-4, atol=1e-6)


def test_layers_without_running_statistics_have_no_pass_b() -> None:
    evidence = observe(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), images(8, 4))
    assert evidence.gap_samples == 0
    assert evidence.layers["0"].calls == 1
    assert evidence.layers["0"].deployed is None


def test_instance_norm_with_running_statistics() -> None:
    net = settled(nn.Sequential(nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)))
    x = images(5, 4, 6, 6)
    layer = observe(net, x).layers["1"]
    check_drift(layer.deployed, inputs_of(net, x, lambda module: module is net[1])["1"][0], net[1])
    other = with_batch_statistics(net)
    check_drift(layer.own, inputs_of(other, x, lambda module: module is other[1])["1"][0], net[1])


def test_statistics_of_named_layers_can_be_replaced() -> None:
    net, x = settled(nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))), images(6, 3)
    chosen = ReplacedStatistics(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    seen = runner(net).outputs(Batch((x,)), statistics={"1": chosen})["output"]
    net[1].running_mean.copy_(torch.from_numpy(chosen.mean))
    net[1].running_var.copy_(torch.from_numpy(chosen.var))
    with torch.no_grad():
        np.testing.assert_allclose(seen, net(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)


def test_a_frozen_batch_norm_is_treated_like_the_others() -> None:
    net, x = nn.Sequential(FrozenBatchNorm2d(4)), images(5, 4, 6, 6) * 2 + 1
    watched = runner(net)
    evidence = watched.observe(Batch((x,)))
    for sums in (evidence.layers["0"].deployed, evidence.layers["0"].own):
        check_drift(sums, x, net[0])
    changed = watched.outputs(Batch((x,)), batch_statistics=True)["output"]
    np.testing.assert_allclose(changed.mean((0, 2, 3)), net[0].bias, atol=1e-5)
    np.testing.assert_allclose(changed.std((0, 2, 3)), net[0].weight, rtol=1e-3)


def test_a_look_alike_that_does_more_is_counted_but_not_replaced() -> None:
    class WithActivation(FrozenBatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).exp()

    evidence = observe(nn.Sequential(WithActivation(4)), images(5, 4, 6, 6))
    assert evidence.layers["0"].own is not None
    assert evidence.outputs["output"].difference_square == 0


def test_look_alikes_of_layer_and_rms_norm() -> None:
    net = nn.Sequential(LayerNorm2d(4), nn.Flatten(2), LlamaRMSNorm(9))
    x = images(2, 4, 3, 3)
    evidence = observe(net, x)
    groups = evidence.layers["0"].groups
    assert (groups.group_size, groups.channel_counts.sum()) == (4, 18)
    np.testing.assert_allclose(groups.variance_min, x.astype(np.float64).var(1).min(), rtol=1e-5)
    assert evidence.layers["2"].groups.group_size == 9
    assert [layer.kind for layer in module_layers(net)] == ["layer_norm", "rms_norm"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_precision(dtype: torch.dtype) -> None:
    net = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4))).to(dtype)
    x = images(6, 3, 8, 8)
    evidence = observe(net, x.astype(np.float64))
    exact = inputs_of(net, x, lambda module: isinstance(module, nn.BatchNorm2d))["1"][0]
    check_drift(evidence.layers["1"].deployed, exact, net[1])
    assert evidence.layers["1"].own is not None
    assert evidence.outputs["output"].difference_square > 0


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 6, 5), (2, 6, 4, 4)])
def test_units_lie_where_the_layer_before_put_them(shape: tuple[int, ...]) -> None:
    convolution = len(shape) == 4 or shape[1] == 6
    first = (nn.Conv2d(6, 3, 1) if len(shape) == 4 else nn.Conv1d(6, 3, 1)) if convolution else nn.Linear(6, 3)
    evidence = observe(nn.Sequential(first, nn.ReLU()), images(*shape))
    (relu,) = evidence.activations.values()
    assert len(relu.saturated) == 3
    assert relu.elements == np.prod(shape) // 6


def test_wrappers_put_no_prefix_on_names() -> None:
    net = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    wrapped = nn.DataParallel(net)
    compiled = torch.compile(net)
    for module in (wrapped, compiled):
        assert list(observe(module, images(4, 3, 8, 8)).layers) == ["1"]
        assert [layer.name for layer in module_layers(module)] == ["1"]


def test_a_module_that_is_a_norm_itself_has_its_class_for_a_name() -> None:
    evidence = observe(nn.BatchNorm1d(3), images(4, 3))
    assert list(evidence.layers) == ["BatchNorm1d"] == [layer.name for layer in module_layers(nn.BatchNorm1d(3))]


def test_the_encoder_layer_of_torch_hides_nothing() -> None:
    """In eval mode its fast path is one fused operator; it must not be taken."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu").eval()
    evidence = observe(encoder, images(3, 5, 8))
    assert list(evidence.layers) == ["norm1", "norm2"]
    assert [sums.kind for sums in evidence.activations.values()] == ["gelu"]


def test_a_caught_exception_leaves_the_names_right() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails = Fails()

        def forward(self, x: Tensor) -> Tensor:
            try:
                self.fails(x)
            except ValueError:
                x = F.relu(x)
            return x

    assert list(observe(nn.Sequential(Careful()), images(2, 3)).activations) == ["0.relu"]


def test_modules_in_plain_lists_run_as_part_of_their_owner() -> None:
    hidden = [nn.BatchNorm1d(3)]
    net = Net(lambda s, x: hidden[0].eval()(x))
    assert list(observe(nn.Sequential(net), images(4, 3)).layers) == ["0.batch_norm"]


@pytest.mark.parametrize("trick", ["view", "strides"])
def test_models_that_need_contiguous_inputs_get_them(trick: str) -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        y = s.bn(x)
        return y.view(len(y), -1) if trick == "view" else torch.as_strided(y, (len(y), 48), (48, 1))

    net, x = settled(Net(forward, bn=nn.BatchNorm2d(3))), images(4, 3, 4, 4)
    seen = runner(net).outputs(Batch((x,)))["output"]
    with torch.no_grad():
        np.testing.assert_allclose(seen, net(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)


def test_inspecting_twice_gives_the_same() -> None:
    net, x = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))), images(4, 3, 8, 8)
    before, first, second = bits(net), observe(net, x), observe(net, x)
    np.testing.assert_array_equal(first.layers["1"].own.second[1], second.layers["1"].own.second[1])
    assert bits(net) == before
