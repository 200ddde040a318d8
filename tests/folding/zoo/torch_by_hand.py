"""PyTorch: layer norms written in elementary operations, whose gamma and beta go, or absorb a norm after them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.folding.zoo.torch_case import Zoo
from tests.nets.net import Net
from tests.nets.norms_by_hand import LlamaRMSNorm

ZOO = Zoo()
IMAGE = (2, 4, 7, 6)
BOTH = {"norms": frozenset({"batch", "layer"})}


ZOO.add("rms_norm_by_hand", lambda: nn.Sequential(LlamaRMSNorm(6), nn.Linear(6, 4)), (2, 5, 6), left="add mul", **BOTH)
ZOO.add(
    "rms_norm_by_hand_and_two_linear_layers",
    lambda: Net(
        lambda s, x: (s.a(y := s.norm(x)), s.b(y)),
        norm=LlamaRMSNorm(6),
        a=nn.Linear(6, 4),
        b=nn.Linear(6, 3, bias=False),
    ),
    (2, 5, 6),
    left="add mul",
    **BOTH,
)


def layer_norm_by_hand() -> nn.Module:
    return by_hand((-1,), (6,))


def by_hand(axes: tuple[int, ...], shape: tuple[int, ...]) -> nn.Module:
    def forward(s: Net, x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.pow(2).mean(axes, keepdim=True) + 1e-5).sqrt() * s.gamma + s.beta

    return Net(forward, gamma=nn.Parameter(torch.randn(shape)), beta=nn.Parameter(torch.randn(shape)))


ZOO.add(
    "layer_norm_by_hand",
    lambda: nn.Sequential(layer_norm_by_hand(), nn.Linear(6, 4)),
    (2, 5, 6),
    left="sub add div",
    **BOTH,
)


ZOO.add(
    "norm_behind_an_instance_norm_by_hand",
    lambda: nn.Sequential(by_hand((2, 3), (4, 1, 1)), nn.BatchNorm2d(4), nn.Tanh()),
    IMAGE,
    left="sub add div mul add",
)


@ZOO.case((2, 5, 6), left="sub add div mul add")
def norm_behind_a_layer_norm_by_hand() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.ln(x).transpose(1, 2)))

    return Net(forward, ln=layer_norm_by_hand(), bn=nn.BatchNorm1d(6))


def scale_and_shift() -> nn.Module:
    """Gamma and beta in a module of their own: no norm by itself after one that has its own moments."""
    parts = {name: nn.Parameter(torch.randn(1, 4, 1, 1)) for name in ("weight", "bias")}
    return Net(lambda s, x: x * s.weight + s.bias, **parts)


for _name, _norm, _left in (
    ("group_norm", lambda: nn.GroupNorm(2, 4), "group_norm mul add"),
    ("instance_norm", lambda: nn.InstanceNorm2d(4), "instance_norm mul add"),
):
    ZOO.add(
        f"gamma_and_beta_beside_{_name}",
        lambda norm=_norm: nn.Sequential(nn.Conv2d(4, 4, 3), norm(), scale_and_shift(), nn.ReLU()),
        IMAGE,
        left=_left,
        folded=0,
    )
ZOO.add(
    "gamma_and_beta_after_a_view",
    lambda: Net(
        lambda s, x: s.affine(nn.functional.layer_norm(x.reshape(x.shape[0], 2, -1), (84,)).reshape(x.shape)),
        affine=scale_and_shift(),
    ),
    IMAGE,
    left="layer_norm mul add",
    folded=0,
)
