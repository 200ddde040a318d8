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


class LayerNormByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * self.gamma + self.beta


ZOO.add(
    "layer_norm_by_hand",
    lambda: nn.Sequential(LayerNormByHand(), nn.Linear(6, 4)),
    (2, 5, 6),
    left="sub add div",
    **BOTH,
)


class InstanceNormByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.randn(4, 1, 1)), nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        return centred / (centred.pow(2).mean((2, 3), keepdim=True) + 1e-5).sqrt() * self.gamma + self.beta


ZOO.add(
    "norm_behind_an_instance_norm_by_hand",
    lambda: nn.Sequential(InstanceNormByHand(), nn.BatchNorm2d(4), nn.Tanh()),
    IMAGE,
    left="sub add div mul add",
)


@ZOO.case((2, 5, 6), left="sub add div mul add")
def norm_behind_a_layer_norm_by_hand() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.ln(x).transpose(1, 2)))

    return Net(forward, ln=LayerNormByHand(), bn=nn.BatchNorm1d(6))


class ScaleAndShift(nn.Module):
    """Gamma and beta in a module of their own: no norm by itself after one that has its own moments."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(1, 4, 1, 1)), nn.Parameter(torch.randn(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


for _name, _norm, _left in (
    ("group_norm", lambda: nn.GroupNorm(2, 4), "group_norm mul add"),
    ("instance_norm", lambda: nn.InstanceNorm2d(4), "instance_norm mul add"),
):
    ZOO.add(
        f"gamma_and_beta_beside_{_name}",
        lambda norm=_norm: nn.Sequential(nn.Conv2d(4, 4, 3), norm(), ScaleAndShift(), nn.ReLU()),
        IMAGE,
        left=_left,
        folded=0,
    )
ZOO.add(
    "gamma_and_beta_after_a_view",
    lambda: Net(
        lambda s, x: s.affine(nn.functional.layer_norm(x.reshape(x.shape[0], 2, -1), (84,)).reshape(x.shape)),
        affine=ScaleAndShift(),
    ),
    IMAGE,
    left="layer_norm mul add",
    folded=0,
)
