"""The formulas of the norms against PyTorch's own, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from normdiag.comparison.formulas import in_groups, normalized, with_batch_statistics
from normdiag.models.pytorch import module_layers

X = torch.randn(4, 6, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def settled(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for each in (*norm.parameters(), *norm.buffers()):
        if each.is_floating_point():
            each.data.uniform_(0.5, 1.5, generator=generator)
    return norm.double().eval()


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(6, eps=1e-2),
        nn.BatchNorm2d(6, affine=False),
        nn.InstanceNorm2d(6, affine=True),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.GroupNorm(3, 6),
        nn.LayerNorm(3),
        nn.LayerNorm((5, 3), eps=1e-3),
        nn.RMSNorm(3, eps=1e-3),
    ],
    ids=str,
)
def test_what_a_layer_gives_in_eval_mode(norm: nn.Module) -> None:
    module = settled(norm)
    (layer,) = module_layers(nn.Sequential(module))
    made = normalized(X.numpy(), layer)
    assert made is not None
    np.testing.assert_allclose(made, module(X).detach().numpy(), rtol=1e-10, atol=1e-12)


def test_batch_statistics_are_those_of_training_mode() -> None:
    module = settled(nn.BatchNorm2d(6))
    (layer,) = module_layers(nn.Sequential(module))
    made = with_batch_statistics(X.numpy(), layer)
    np.testing.assert_allclose(made, module.train()(X).detach().numpy(), rtol=1e-10, atol=1e-12)


def test_as_many_groups_as_channels_are_instance_norm() -> None:
    module = settled(nn.GroupNorm(2, 6))
    (layer,) = module_layers(nn.Sequential(module))
    expected = nn.functional.instance_norm(X, weight=module.weight, bias=module.bias, eps=module.eps)
    np.testing.assert_allclose(in_groups(X.numpy(), layer, 6), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert in_groups(X.numpy(), layer, 4) is None
