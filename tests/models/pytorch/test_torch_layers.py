"""The static listing of a module's normalization layers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normdiag.models.pytorch import module_layers
from tests.nets.norms_by_hand import BatchNormAct2d, FrozenBatchNorm2d


class T5LayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(4)), 1e-6


class BertLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.variance_epsilon = 1e-12


class Tracker(nn.Module):
    """Has a running mean, and is no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.ones(4))


@pytest.mark.parametrize(
    ("module", "kind", "channels", "eps"),
    [
        (nn.BatchNorm1d(4), "batch_norm", 4, 1e-5),
        (nn.BatchNorm2d(4, affine=False, track_running_stats=False), "batch_norm", 4, 1e-5),
        (nn.BatchNorm3d(4, eps=1e-3), "batch_norm", 4, 1e-3),
        (nn.SyncBatchNorm(4), "batch_norm", 4, 1e-5),
        (BatchNormAct2d(4), "batch_norm", 4, 1e-5),
        (FrozenBatchNorm2d(4), "batch_norm", 4, 1e-5),
        (nn.InstanceNorm2d(4), "instance_norm", 4, 1e-5),
        (nn.InstanceNorm1d(4, track_running_stats=True), "instance_norm", 4, 1e-5),
        (nn.GroupNorm(2, 4), "group_norm", 4, 1e-5),
        (nn.LayerNorm((2, 4), bias=False), "layer_norm", 8, 1e-5),
        (nn.LayerNorm(4, elementwise_affine=False), "layer_norm", 4, 1e-5),
        (nn.RMSNorm(4, eps=1e-6), "rms_norm", 4, 1e-6),
        (nn.RMSNorm(4), "rms_norm", 4, float(np.finfo(np.float32).eps)),
        (T5LayerNorm(), "rms_norm", 4, 1e-6),
        (BertLayerNorm(), "layer_norm", 4, 1e-12),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_kinds(module: nn.Module, kind: str, channels: int, eps: float | None) -> None:
    (layer,) = module_layers(nn.Sequential(nn.Linear(4, 4), module))
    assert (layer.name, layer.kind, layer.channels, layer.origin) == ("1", kind, channels, "module")
    assert layer.eps == (None if eps is None else pytest.approx(eps))
    assert layer.class_name == type(module).__name__
    scripted = nn.Sequential(nn.Linear(4, 4), module)
    if type(module).__module__.startswith("torch") and not isinstance(module, nn.SyncBatchNorm):  # not scriptable
        (same,) = module_layers(torch.jit.script(scripted))
        assert (same.name, same.kind, same.channels) == (layer.name, layer.kind, layer.channels)


@pytest.mark.parametrize("module", [nn.Linear(4, 4), nn.PReLU(4), Tracker(), nn.Embedding(4, 4), nn.Conv2d(4, 4, 1)])
def test_what_is_no_norm(module: nn.Module) -> None:
    assert module_layers(nn.Sequential(module)) == ()


def test_what_a_batch_norm_says_of_itself() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.3)
    norm(torch.randn(4, 3, 5, 5))
    (layer,) = module_layers(nn.ModuleDict({"stem": norm.half()}))
    assert (layer.name, layer.momentum, layer.num_batches_tracked, layer.training) == ("stem", 0.3, 1, True)
    assert layer.running_var.dtype == np.float16
    np.testing.assert_array_equal(layer.running_mean, norm.running_mean.numpy())
    norm.running_mean.zero_()
    assert layer.running_mean.any()  # a copy


def test_momentum_none_and_bfloat16() -> None:
    (layer,) = module_layers(nn.BatchNorm1d(3, momentum=None).bfloat16().eval())
    assert layer.momentum is None
    assert layer.gamma.dtype == ml_dtypes.bfloat16
    assert layer.training is False


def test_a_shared_module_is_listed_once_and_groups_are_known() -> None:
    norm = nn.GroupNorm(2, 4)
    (layer,) = module_layers(nn.Sequential(norm, norm))
    assert (layer.name, layer.groups) == ("0", 2)


def test_parametrized_weights_are_read_as_the_forward_reads_them() -> None:
    class Double(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    norm = nn.LayerNorm(4)
    parametrize.register_parametrization(norm, "weight", Double())
    (layer,) = module_layers(nn.Sequential(norm))
    np.testing.assert_array_equal(layer.gamma, np.full(4, 2.0))


def test_lazy_norms_say_so() -> None:
    (layer,) = module_layers(nn.Sequential(nn.LazyBatchNorm2d()))
    assert (layer.kind, layer.channels, layer.gamma) == ("batch_norm", None, None)
    assert "not initialised" in layer.notes[0]


def test_wrappers_are_looked_into() -> None:
    (layer,) = module_layers(nn.DataParallel(nn.Sequential(nn.BatchNorm1d(2))))
    assert layer.name == "0"


def test_parameters_on_no_device_have_no_values() -> None:
    (layer,) = module_layers(nn.Sequential(nn.BatchNorm1d(2, device="meta")))
    assert (layer.channels, layer.gamma) == (2, None)
