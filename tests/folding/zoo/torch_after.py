"""PyTorch: norms that go into the layer after them, layer norms, and norms that must stay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.folding.zoo.torch_case import Zoo, positive
from tests.nets.net import Net

ZOO = Zoo()
IMAGE = (2, 4, 7, 6)
BOTH = {"norms": frozenset({"batch", "layer"})}


def between(layer: nn.Module, norm: nn.Module, *others: nn.Module) -> nn.Module:
    """A nonlinearity on both sides."""
    return nn.Sequential(nn.ReLU(), norm, *others, layer, nn.Tanh())


for _name, _options in {
    "plain": {},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "stride": 2, "bias": False},
}.items():
    ZOO.add(f"conv_{_name}", lambda o=_options: between(nn.Conv2d(4, 8, 3, **o), nn.BatchNorm2d(4)), IMAGE)
ZOO.add("conv1d", lambda: between(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(4)), (2, 4, 9))
ZOO.add("norm_of_the_input", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.ReLU()), IMAGE)
ZOO.add("linear", lambda: between(nn.Linear(4, 6), nn.BatchNorm1d(4)), (3, 4))
ZOO.add("linear_without_bias", lambda: between(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(4)), (3, 4), left="|add")
ZOO.add("linear_through_flatten", lambda: between(nn.Linear(24, 6), nn.BatchNorm2d(4), nn.Flatten()), (2, 4, 3, 2))
ZOO.add(
    "the_usual_head",
    lambda: between(nn.Linear(4, 6), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)),
    IMAGE,
)
ZOO.add(
    "max_pool_between", lambda: between(nn.Conv2d(4, 6, 3), positive(nn.BatchNorm2d(4)), nn.MaxPool2d(2, 1, 1)), IMAGE
)
ZOO.add(
    "padded_with_shift",
    lambda: between(nn.Conv2d(4, 6, 3, padding=1), positive(nn.BatchNorm2d(4))),
    IMAGE,
    left="add|batch_norm",
    folded=None,
)
ZOO.add(
    "padded_same_with_shift",
    lambda: between(nn.Conv2d(4, 6, 3, padding="same"), positive(nn.BatchNorm2d(4))),
    IMAGE,
    left="add|batch_norm",
    folded=None,
)
ZOO.add(
    "padded_with_shift_and_a_scale_of_zero",
    lambda: between(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(4)),
    IMAGE,
    left="batch_norm",
    folded=0,
    refused=("(?i)pad|zero",),
)
ZOO.add(
    "reflected_padding",
    lambda: between(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)),
    IMAGE,
    left="",
)
ZOO.add(
    "conv_transpose_with_shift",
    lambda: between(nn.ConvTranspose2d(4, 6, 2, stride=2), positive(nn.BatchNorm2d(4))),
    IMAGE,
    left="add|batch_norm",
    folded=None,
)
ZOO.add("two_norms", lambda: between(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), IMAGE, folded=2)


@ZOO.case(IMAGE, folded=0)
def padded_without_shift() -> nn.Module:
    parts = {"conv": nn.Conv2d(4, 6, 3, padding=1), "scale": torch.randn(4, 1, 1)}
    return Net(lambda s, x: torch.tanh(s.conv(torch.relu(x) * s.scale)), **parts)


@ZOO.case(IMAGE, left="")
def several_consumers_all_linear() -> nn.Module:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(torch.relu(x))
        return torch.tanh(self.a(y)), torch.tanh(self.b(y))

    return Net(forward, norm=nn.BatchNorm2d(4), a=nn.Conv2d(4, 6, 3), b=nn.Conv2d(4, 5, 1, bias=False))


@ZOO.case(IMAGE, left="batch_norm", folded=0, refused=("",))
def several_consumers_one_nonlinear() -> nn.Module:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(torch.relu(x))
        return torch.tanh(self.a(y)), torch.tanh(y)

    return Net(forward, norm=nn.BatchNorm2d(4), a=nn.Conv2d(4, 6, 3))


@ZOO.case(IMAGE, left="batch_norm", folded=0, refused=("",))
def its_output_is_returned() -> nn.Module:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(torch.relu(x))
        return torch.tanh(self.a(y)), y

    return Net(forward, norm=nn.BatchNorm2d(4), a=nn.Conv2d(4, 6, 3))


@ZOO.case(IMAGE, (2, 3, 7, 6), left="")
def concat_between() -> nn.Module:
    def forward(self: Any, x: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(self.conv(torch.cat((self.norm(torch.relu(x)), torch.relu(z)), 1)))

    return Net(forward, norm=nn.BatchNorm2d(4), conv=nn.Conv2d(7, 6, 3))


# gamma and beta of layer norms.

ZOO.add("layer_norm", lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)), (2, 5, 6), left="layer_norm", **BOTH)
ZOO.add(
    "layer_norm_without_bias",
    lambda: nn.Sequential(nn.LayerNorm(6, bias=False), nn.Linear(6, 4, bias=False)),
    (2, 5, 6),
    left="layer_norm",
    **BOTH,
)
ZOO.add("rms_norm", lambda: nn.Sequential(nn.RMSNorm(6, eps=1e-3), nn.Linear(6, 4)), (2, 5, 6), left="rms_norm", **BOTH)
ZOO.add(
    "layer_norm_not_asked_for",
    lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)),
    (2, 5, 6),
    left="layer_norm",
    folded=0,
)


@ZOO.case((2, 5, 6), left="layer_norm", **BOTH)
def query_key_and_value() -> nn.Module:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        y = self.norm(x)
        return self.q(y), self.k(y), self.v(y)

    return Net(forward, norm=nn.LayerNorm(6), q=nn.Linear(6, 4), k=nn.Linear(6, 3, bias=False), v=nn.Linear(6, 2))


@ZOO.case((2, 5, 6), left="layer_norm add", folded=0, refused=("",), **BOTH)
def layer_norm_with_a_residual() -> nn.Module:
    return Net(lambda s, x: s.q(y := s.norm(x)) + y, norm=nn.LayerNorm(6), q=nn.Linear(6, 6))


# What stays.

STAYS = {"left": "batch_norm", "folded": 0}


def behind(norm: nn.Module, *others: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 5, 3), *others, norm, nn.Tanh())


ZOO.add(
    "no_statistics",
    lambda: behind(nn.BatchNorm2d(5, track_running_stats=False)),
    IMAGE,
    refused=("(?i)statistics",),
    **STAYS,
)
ZOO.add("behind_relu", lambda: behind(nn.BatchNorm2d(5), nn.ReLU()), IMAGE, refused=("(?i)relu|nonlinear",), **STAYS)
ZOO.add("behind_gelu", lambda: behind(nn.BatchNorm2d(5), nn.GELU()), IMAGE, refused=("(?i)gelu|nonlinear",), **STAYS)


@ZOO.case(IMAGE, refused=("(?i)used|sigmoid",), **STAYS)
def another_consumer() -> nn.Module:
    return Net(
        lambda s, x: (torch.tanh(s.norm(y := s.conv(x))), torch.sigmoid(y)),
        conv=nn.Conv2d(4, 5, 3),
        norm=nn.BatchNorm2d(5),
    )


@ZOO.case(IMAGE, refused=("(?i)output|used|return",), **STAYS)
def the_convolution_is_returned() -> nn.Module:
    return Net(lambda s, x: (torch.tanh(s.norm(y := s.conv(x))), y), conv=nn.Conv2d(4, 5, 3), norm=nn.BatchNorm2d(5))


@ZOO.case(IMAGE, (2, 5, 4, 3), left="mul batch_norm", folded=0, refused=("",))
def a_product_of_two_inputs() -> nn.Module:
    return Net(
        lambda s, x, z: torch.tanh(s.norm(functional.max_pool2d(s.conv(x), 2, 1) * z)),
        conv=nn.Conv2d(4, 5, 3),
        norm=nn.BatchNorm2d(5),
    )


@ZOO.case(IMAGE, left="mul batch_norm", folded=0, refused=("(?i)computed|input|constant",))
def a_weight_that_is_computed_from_the_data() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(functional.conv2d(x, self.conv.weight * x.mean())))

    return Net(forward, conv=nn.Conv2d(4, 5, 3), norm=nn.BatchNorm2d(5))


@ZOO.case(IMAGE, left="group_norm", folded=0)
def group_norm_is_not_asked_for() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.Tanh())


@ZOO.case(IMAGE, left="group_norm")
def norm_behind_a_group_norm() -> nn.Module:
    """It goes into gamma and beta of the other."""
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.BatchNorm2d(6), nn.Tanh())
