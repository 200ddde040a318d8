"""PyTorch: norms that go into the layer before them, right after it or through what lies between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from tests.folding.zoo.torch_case import Zoo, positive
from tests.nets.net import Net
from tests.nets.norms_by_hand import BatchNormAct2d

ZOO = Zoo()
CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SPACE = {1: (9,), 2: (7, 6), 3: (4, 5, 3)}
IMAGE = (2, 3, 7, 6)


def after(layer: nn.Module, norm: nn.Module, *between: nn.Module) -> nn.Module:
    return nn.Sequential(layer, *between, norm, nn.ReLU())


def image(norm: nn.Module, *between: nn.Module, channels: int = 4) -> nn.Module:
    return after(nn.Conv2d(3, channels, 3), norm, *between)


for _rank in (1, 2, 3):
    for _name, _options in {
        "plain": {},
        "groups": {"groups": 2, "bias": False},
        "depthwise": {"groups": 4, "stride": 2, "padding": 1},
        "dilation": {"dilation": 2, "padding": "same", "bias": False},
    }.items():
        if _rank == 2 or _name in ("plain", "groups"):
            ZOO.add(
                f"conv{_rank}d_{_name}",
                lambda r=_rank, o=_options: after(CONVS[r](4, 8, 3 if r < 3 else 2, **o), NORMS[r](8)),
                (2, 4, *SPACE[_rank]),
            )
            _upward = {k: v for k, v in _options.items() if k != "padding"} | {"output_padding": 1, "stride": 2}
            ZOO.add(
                f"conv_transpose{_rank}d_{_name}",
                lambda r=_rank, o=_upward: after(TRANSPOSED[r](4, 8, 3, **o), NORMS[r](8)),
                (2, 4, *SPACE[_rank]),
            )

for _bias in (True, False):
    ZOO.add(f"linear_{_bias}", lambda b=_bias: after(nn.Linear(5, 4, bias=b), nn.BatchNorm1d(4)), (3, 5), left="|add")
ZOO.add(
    "circular_padding", lambda: after(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(4)), IMAGE
)
EINSUMS: dict[str, tuple[str, tuple[int, ...], bool]] = {
    "einsum_point": ("bchw,dc->bdhw", (4, 3), True),
    "einsum_with_the_matrix_first": ("cd,bchw->bdhw", (3, 4), True),
    "einsum_that_turns": ("bcwh,cd->bdhw", (3, 4), True),
    "einsum_with_dots": ("bc...,dc->bd...", (4, 3), True),
    "einsum_without_a_result": ("acxy,cb", (3, 4), True),
    "einsum_of_channels_and_rows": ("bchw,dch->bdhw", (4, 3, 7), False),
    "einsum_that_sums": ("bchw,dc->bd", (4, 3), False),
    "einsum_that_repeats": ("bchw,dc->bdhw", (4, 1), False),
}


def einsum(equation: str, shape: tuple[int, ...]) -> nn.Module:
    """A product with a parameter of that shape."""

    def forward(s: Net, x: Tensor) -> Tensor:
        return torch.einsum(equation, *((s.matrix, x) if equation.startswith("cd") else (x, s.matrix)))

    return Net(forward, matrix=nn.Parameter(torch.randn(shape)))


for _name, (_equation, _shape, _folds) in EINSUMS.items():
    ZOO.add(
        _name,
        lambda e=_equation, s=_shape: after(einsum(e, s), (nn.BatchNorm1d if e[-2:] == "bd" else nn.BatchNorm2d)(4)),
        IMAGE,
        left="add" if _folds else "batch_norm",
        folded=int(_folds),
        refused=() if _folds else ("an einsum that is no product with one constant matrix",),
    )
ZOO.add(
    "einsum_of_two_activations",
    lambda: Net(lambda s, x: torch.relu(s.norm(torch.einsum("bchw,bdhw->bcdh", x, x))), norm=nn.BatchNorm2d(3)),
    IMAGE,
    left="batch_norm",
    folded=0,
    refused=("an einsum of several activations",),
)
ZOO.add("no_affine", lambda: image(nn.BatchNorm2d(4, affine=False)), IMAGE)
ZOO.add("two_norms", lambda: image(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), IMAGE, folded=2)
ZOO.add("sync_batch_norm", lambda: image(nn.SyncBatchNorm(4)), IMAGE)
ZOO.add(
    "instance_norm_with_statistics", lambda: image(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), IMAGE
)
ZOO.add(
    "instance_norm1d_with_statistics",
    lambda: after(nn.Conv1d(3, 4, 3), nn.InstanceNorm1d(4, track_running_stats=True)),
    (2, 3, 9),
)
for _name, _number, _left in (
    ("times", lambda x: x * 0.5, "mul"),
    ("plus", lambda x: x + 1, "add"),
    ("over", lambda x: x.div_(-3.0), "div"),
    ("one_minus", lambda x: 1 - x, "rsub"),
    ("minus", torch.neg, "neg"),
    ("minus_twice", lambda x: torch.sub(x, 1.5, alpha=2), "sub"),
    ("minus_twice_itself", lambda x: torch.rsub(x, 1.5, alpha=2), "rsub"),
    ("plus_thrice_itself", lambda x: torch.add(torch.ones(1, 1, 1, dtype=x.dtype), x, alpha=3), "add"),
    ("chain", lambda x: (x * 2 - 3) / 4, "mul sub div"),
    ("tensor", lambda x: x * torch.tensor(0.5, dtype=x.dtype), "mul"),
):
    ZOO.add(f"number_{_name}", lambda f=_number: image(nn.BatchNorm2d(4), Net(lambda s, x: f(x))), IMAGE)
    ZOO.add(
        f"number_{_name}_behind_the_norm",
        lambda f=_number: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Net(lambda s, x: f(x)), nn.ReLU()),
        IMAGE,
        left=_left,
    )
    ZOO.add(
        f"number_{_name}_alone",
        lambda f=_number: nn.Sequential(nn.Conv2d(3, 4, 3), Net(lambda s, x: f(x)), nn.ReLU()),
        IMAGE,
        left=_left,
        folded=0,
    )
    ZOO.add(
        f"number_{_name}_in_front_of_the_layer",
        lambda f=_number: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), Net(lambda s, x: f(x)), nn.Conv2d(3, 4, 3)),
        IMAGE,
    )
ZOO.add("identity", lambda: image(nn.BatchNorm2d(4), nn.Identity()), IMAGE)
ZOO.add("dropout", lambda: image(nn.BatchNorm2d(4), nn.Dropout2d(0.4)), IMAGE)
ZOO.add("average_pool", lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d(2, ceil_mode=False)), IMAGE)
ZOO.add(
    "average_pool_without_padding_in_it",
    lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    IMAGE,
)
ZOO.add(
    "average_pool_that_counts_its_padding",
    lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d(3, 2, 1)),
    IMAGE,
    left="add",
)
ZOO.add("pool_by_its_own_divisor", lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d((2, 3), divisor_override=5)), IMAGE)
ZOO.add(
    "pool_at_the_border_by_its_own_divisor",
    lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d(3, 3, ceil_mode=True, divisor_override=5)),
    IMAGE,
    left="add",
)
ZOO.add("pool_beyond_the_border", lambda: image(nn.BatchNorm2d(4), nn.AvgPool2d(3, 3, ceil_mode=True)), IMAGE)
ZOO.add("sum", lambda: image(nn.BatchNorm2d(4), Net(lambda s, x: x.sum((2, 3), keepdim=True))), IMAGE)
ZOO.add("adaptive_average_pool", lambda: image(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)), IMAGE)
ZOO.add("adaptive_average_pool_to_a_grid", lambda: image(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d((2, 3))), IMAGE)
ZOO.add("max_pool", lambda: image(positive(nn.BatchNorm2d(4)), nn.MaxPool2d(3, 2, 1)), IMAGE)
ZOO.add(
    "max_pool_and_a_negative_scale",
    lambda: image(nn.BatchNorm2d(4), nn.MaxPool2d(2)),
    IMAGE,
    folded=0,
    left="batch_norm",
    refused=("",),
)
for _mode in ("nearest", "bilinear"):
    ZOO.add(f"upsample_{_mode}", lambda m=_mode: image(nn.BatchNorm2d(4), nn.Upsample(scale_factor=2, mode=m)), IMAGE)
ZOO.add("channel_shuffle", lambda: image(nn.BatchNorm2d(4), nn.ChannelShuffle(2)), IMAGE)
ZOO.add("unflatten", lambda: after(nn.Linear(5, 24), nn.BatchNorm2d(4), nn.Unflatten(1, (4, 2, 3))), (3, 5))
ZOO.add("flatten_behind_a_pool", lambda: image(nn.BatchNorm1d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE)
ZOO.add(
    "flatten_of_positions",
    lambda: image(nn.BatchNorm1d(80), nn.Flatten()),
    IMAGE,
    folded=0,
    left="batch_norm",
    refused=("",),
)
ZOO.add("norm_is_the_output", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), IMAGE)


@ZOO.case(IMAGE, left="")
def pixel_shuffle_by_hand() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        n, c, h, w = y.shape
        y = y.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
        return torch.relu(self.norm(y))

    return Net(forward, conv=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm2d(2))


@ZOO.case((2, 6, 5))
def linear_over_tokens() -> nn.Module:
    """(N, T, C): the norm sees the features through a transpose."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.linear(x).transpose(1, 2)))

    return Net(forward, linear=nn.Linear(5, 4), norm=nn.BatchNorm1d(4))


@ZOO.case((2, 6, 5), folded=0, left="batch_norm", refused=("",))
def linear_whose_tokens_are_the_channels() -> nn.Module:
    return Net(lambda self, x: torch.relu(self.norm(self.linear(x))), linear=nn.Linear(5, 4), norm=nn.BatchNorm1d(6))


@ZOO.case((2, 6, 5, 3))
def linear_flattened_over_tokens() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.linear(x.flatten(0, 2))
        return torch.relu(self.norm(y)).view(x.shape[0], -1)

    return Net(forward, linear=nn.Linear(3, 4), norm=nn.BatchNorm1d(4))


def matmul_and_add() -> nn.Module:
    """torch.matmul with a parameter, and an addition."""
    parts = {"matrix": nn.Parameter(torch.randn(5, 4)), "vector": nn.Parameter(torch.randn(4))}
    return Net(lambda s, x: torch.relu(s.norm(x @ s.matrix + s.vector)), **parts, norm=nn.BatchNorm1d(4))


ZOO.add("matmul_and_add", matmul_and_add, (3, 5), left="add|")


class Decomposed(nn.Module):
    """A norm in elementary operations on buffers, as FrozenBatchNorm2d of torchvision and of detectron2."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(3, 4, 3, bias=False)
        for name, value in {
            "w": torch.randn(4),
            "b": torch.randn(4),
            "m": torch.randn(4),
            "v": torch.rand(4) + 0.3,
        }.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        w, b, m, v = (getattr(self, name).reshape(1, -1, 1, 1) for name in "wbmv")
        y = self.conv(x)
        if self.how == "torchvision":
            scale = w * (v + 1e-5).rsqrt()
            return torch.relu(y * scale + (b - m * scale))
        if self.how == "sqrt":
            return torch.relu((y - m) / torch.sqrt(v + 1e-5) * w + b)
        return torch.relu(functional.batch_norm(y, self.m, self.v, self.w, self.b, False, 0.0, 1e-5))


for _how in ("torchvision", "sqrt", "functional"):
    ZOO.add(f"frozen_batch_norm_{_how}", lambda h=_how: Decomposed(h), IMAGE)


ZOO.add("batch_norm_act", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4)), IMAGE)
ZOO.add(
    "functional_batch_norm",
    lambda: Net(
        lambda s, x: torch.relu(
            functional.batch_norm(
                s.conv(x), s.n.running_mean, s.n.running_var, s.n.weight, s.n.bias, False, 0.1, s.n.eps
            )
        ),
        conv=nn.Conv2d(3, 4, 3),
        n=nn.BatchNorm2d(4),
    ),
    IMAGE,
)


class Doubled(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight + 0.1


def parametrized(how: str) -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    if how == "weight_norm":
        conv = parametrizations.weight_norm(conv)
    elif how == "old_weight_norm":
        conv = nn.utils.weight_norm(conv)
    elif how == "spectral_norm":
        conv = parametrizations.spectral_norm(conv)
    else:
        parametrize.register_parametrization(conv, "weight", Doubled())
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU())


for _how in ("weight_norm", "old_weight_norm", "spectral_norm", "own"):
    ZOO.add(f"parametrized_{_how}", lambda h=_how: parametrized(h), IMAGE)
ZOO.add(
    "expand_over_positions",
    lambda: image(nn.BatchNorm2d(4), Net(lambda s, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 5, 4))),
    IMAGE,
)
ZOO.add("repeat_over_positions", lambda: image(nn.BatchNorm2d(4), Net(lambda s, x: x.repeat(1, 1, 2, 3))), IMAGE)
ZOO.add(
    "expand_to_another_rank",
    lambda: image(nn.BatchNorm2d(4), Net(lambda s, x: x.expand(1, *x.shape)[0])),
    IMAGE,
    folded=None,
    left="batch_norm|",
)
ZOO.add("twice", lambda: image(nn.BatchNorm2d(4), Net(lambda s, x: x + x)), IMAGE)
ZOO.add(
    "where_of_two_convolutions",
    lambda: Net(
        lambda s, x: torch.relu(s.norm(torch.where(x[:, :1] > 0, s.first(x), s.second(x)))),
        first=nn.Conv2d(3, 4, 1),
        second=nn.Conv2d(3, 4, 1, bias=False),
        norm=nn.BatchNorm2d(4),
    ),
    IMAGE,
)
ZOO.add(
    "where_one_is_nonlinear",
    lambda: Net(
        lambda s, x: torch.relu(s.norm(torch.where(x[:, :1] > 0, s.first(x), torch.relu(s.second(x))))),
        first=nn.Conv2d(3, 4, 1),
        second=nn.Conv2d(3, 4, 1, bias=False),
        norm=nn.BatchNorm2d(4),
    ),
    IMAGE,
    folded=0,
    left="batch_norm",
    refused=("nonlinear",),
)
ZOO.add(
    "a_batch_of_matrices",
    lambda: Net(
        lambda s, x: torch.relu(s.norm((x.unsqueeze(2) @ s.matrices).flatten(1))),
        matrices=nn.Parameter(torch.randn(3, 6, 4)),
        norm=nn.BatchNorm1d(12),
    ),
    (2, 3, 6),
    left="add",
)
