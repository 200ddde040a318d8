"""Normalization that a PyTorch module spells out, in the ways that people and libraries write it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from normdiag.graph.importers.torch_export import torch_graph
from normdiag.records import Norm, Op
from tests.graph.importers.torch_export.programs import exported
from tests.nets.net import Net

ROWS, MAPS = torch.rand(2, 4, 6), torch.rand(2, 6, 5, 5)


def one_pass(s: Net, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) * ((x * x).mean(-1, keepdim=True) - mean * mean + 1e-5).pow(-0.5) * s.g + s.b


def both_moments(s: Net, x: Tensor) -> Tensor:
    var, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
    return s.b + s.g * (x - mean) * torch.rsqrt(var + 1e-5)


def two_steps(s: Net, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return s.g * (centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)) + s.b


def llama(s: Net, x: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    return s.g * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def by_a_sum(s: Net, x: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().sum(-1, keepdim=True) / 6 + 1e-6) * s.g


def channels_first(s: Net, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6) * s.g[:, None, None]


def gamma_first(s: Net, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return s.g[:, None, None] * (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)


def instances(s: Net, x: Tensor) -> Tensor:
    var = x.var((2, 3), unbiased=False, keepdim=True)
    return (x - x.mean((2, 3), keepdim=True)) / torch.sqrt(var + 1e-5) * s.g[:, None, None] + s.b[:, None, None]


def groups(s: Net, x: Tensor) -> Tensor:
    parts = x.reshape(x.shape[0], 3, -1)
    parts = (parts - parts.mean(-1, keepdim=True)) * (parts.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
    return parts.reshape(x.shape) * s.g[:, None, None]


def norms(forward: Callable[[Net, Tensor], Tensor], x: Tensor) -> list[list[Op]]:
    """Of the program as it is exported, and decomposed."""
    net = Net(forward, g=torch.rand(6) + 0.5, b=torch.rand(6))
    program = exported(net, x)
    return [
        [op for op in torch_graph(each).ops if isinstance(op.detail, Norm)]
        for each in (program, program.run_decompositions())
    ]


@pytest.mark.parametrize(
    ("forward", "kind", "eps"),
    [
        (one_pass, "layer_norm", 1e-5),
        (both_moments, "layer_norm", 1e-5),
        (two_steps, "layer_norm", 1e-5),
        (llama, "rms_norm", 1e-6),
        (by_a_sum, "rms_norm", 1e-6),
    ],
)
def test_over_the_features_with_gamma_and_beta(forward: Callable[..., Tensor], kind: str, eps: float) -> None:
    for found in norms(forward, ROWS):
        (op,) = found
        assert isinstance(op.detail, Norm)
        layer = op.detail.layer
        assert (layer.kind, layer.eps, layer.channels, layer.origin) == (kind, eps, 6, "decomposed")
        assert op.inputs == ("x",) and op.detail.axis == 2
        assert op.detail.gamma is not None and (op.detail.beta is not None) == (kind == "layer_norm")
        assert layer.gamma is not None and layer.gamma.shape == (6,)


@pytest.mark.parametrize(
    ("forward", "kind", "many"),
    [(channels_first, "layer_norm", None), (instances, "instance_norm", None), (groups, "group_norm", 3)],
)
def test_over_positions_the_parameters_are_operations_of_their_own(
    forward: Callable[..., Tensor], kind: str, many: int | None
) -> None:
    for found in norms(forward, MAPS):
        (op,) = found
        assert isinstance(op.detail, Norm)
        assert (op.detail.layer.kind, op.detail.layer.groups, op.detail.axis) == (kind, many, 1)
        assert op.detail.gamma is None and op.detail.layer.gamma is not None


def test_parameters_among_the_steps_stay_in_it_and_are_not_folded() -> None:
    for found in norms(gamma_first, MAPS):
        (op,) = found
        assert isinstance(op.detail, Norm) and op.detail.gamma is not None
        assert op.detail.gamma.obstacle == "does not run along the last axes"


def length(s: Net, x: Tensor) -> Tensor:
    return x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def seen_by_another(s: Net, x: Tensor) -> Tensor:
    root = torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return x / root + root


@pytest.mark.parametrize("forward", [length, seen_by_another])
def test_what_only_looks_like_one(forward: Callable[..., Tensor]) -> None:
    assert norms(forward, ROWS) == [[], []]


def test_a_module_that_is_all_of_it_gives_its_name_and_class() -> None:
    def by_hand(s: Net, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * s.scale

    first = Net(by_hand, scale=nn.Parameter(torch.ones(6)))
    program = exported(Net(lambda s, x: s.last(s.first(x)), first=first, last=nn.Linear(6, 2)), ROWS)
    op = torch_graph(program).ops[0]
    assert isinstance(op.detail, Norm)
    assert (op.name, op.detail.layer.name, op.detail.layer.class_name) == ("first", "first", "Net")
