"""After any inspection a model is bit-identical: state, training flags, hooks, gradients and random numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, spectral_norm

import normdiag
from normdiag.errors import InputError
from normdiag.models.pytorch import module_layers
from tests.nets.net import Net
from tests.observe.pytorch.helpers import bits, images, observe, settled


class Mixed(nn.Module):
    """Every kind of state, with flags that are neither all training nor all eval, and an input changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6, momentum=None)
        self.instance = nn.InstanceNorm2d(6, track_running_stats=True)
        self.drop = nn.Dropout(0.5)
        self.free = nn.BatchNorm2d(6, track_running_stats=False)
        self.head = nn.Linear(6, 4)
        self.frozen = nn.BatchNorm1d(4)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("cache", None)
        self.register_buffer("replaced", torch.zeros(2))
        self.fail: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        self.cache = torch.ones(3)
        self.replaced = self.replaced + 1
        x = self.drop(self.instance(self.bn(self.conv(self.stem(x)))))
        if self.fail is not None:
            raise self.fail
        x = F.batch_norm(self.free(x), self.bn.running_mean, self.bn.running_var, training=True, momentum=0.5)
        return self.frozen(self.head(x.mean((2, 3))))


@pytest.fixture
def model() -> Iterator[Mixed]:
    torch.manual_seed(3)
    net = settled(Mixed())
    net.train()
    net.frozen.eval()
    net.conv.weight.requires_grad_(False)
    yield net
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks


@pytest.mark.parametrize("failure", [None, ValueError("no"), KeyboardInterrupt()])
def test_nothing_changes_whatever_happens(model: Mixed, failure: BaseException | None) -> None:
    model.fail = failure
    before, gradients = bits(model), [value.requires_grad for value in model.parameters()]
    x, random = images(4, 3, 8, 8), torch.get_rng_state()
    copy = x.copy()
    if failure is None:
        observe(model, x)
    else:
        with pytest.raises(InputError if isinstance(failure, Exception) else KeyboardInterrupt):
            observe(model, x)
    assert bits(model) == before
    assert model.cache is None
    assert [value.requires_grad for value in model.parameters()] == gradients
    assert all(value.grad is None for value in model.parameters())
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(x, copy)


def test_training_works_afterwards(model: Mixed) -> None:
    """No inference tensor is left anywhere."""
    observe(model, images(4, 3, 8, 8))
    model(torch.from_numpy(images(4, 3, 8, 8))).sum().backward()
    assert model.head.weight.grad is not None


def test_an_overridden_train_is_not_called() -> None:
    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def train(self, mode: bool = True) -> nn.Module:
            raise AssertionError("eval() and train() belong to the user")

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(x)

    assert observe(Merging(), images(4, 3)).layers["bn"].calls == 1


def test_a_forward_that_writes_to_buffers_runs_alike_in_both_passes() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        s.steps += 1
        s.bn(x)
        return x * s.steps

    (sums,) = observe(Net(forward, bn=nn.BatchNorm1d(3), steps=torch.zeros(())), images(4, 3)).outputs.values()
    assert sums.difference_square == 0


def test_random_numbers_are_the_same_in_both_passes() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        s.bn(x)
        return x + torch.randn_like(x)

    (sums,) = observe(Net(forward, bn=nn.BatchNorm1d(3)), images(4, 3)).outputs.values()
    assert sums.difference_square == 0


class Spectral(nn.Module):
    """Weights that are computed when they are read: in training mode, reading one advances its power iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
        self.bn = nn.BatchNorm2d(4)
        self.norm = parametrizations.spectral_norm(nn.LayerNorm((4, 6, 6)))
        self.old = spectral_norm(nn.Conv2d(4, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.old(self.norm(self.bn(self.conv(x))))


@pytest.mark.exports
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("use", ["static", "data", "fold"])
def test_reading_a_computed_weight_changes_nothing(training: bool, use: str) -> None:
    torch.manual_seed(3)
    net = Spectral().train(training)
    before, x = bits(net), images(8, 3, 8, 8)
    if use == "fold":
        normdiag.fold(net, x)
    else:
        normdiag.inspect(net, x if use == "data" else None)
    assert bits(net) == before


def test_a_computed_weight_is_that_of_eval_mode() -> None:
    net = Spectral().train()
    with torch.no_grad():
        expected = copy.deepcopy(net).eval().norm.weight
    (layer,) = [each for each in module_layers(net) if each.name == "norm"]
    np.testing.assert_array_equal(layer.gamma, expected.numpy())
