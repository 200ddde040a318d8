"""PyTorch: norms after sums and joins, and weights and modules that are used twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.folding.zoo.torch_case import Zoo
from tests.nets.net import Net

ZOO = Zoo()
IMAGE = (2, 3, 7, 6)


# Parts and sums.


def two(forward: Any, *, outputs: tuple[int, int] = (4, 4), norm: nn.Module | None = None) -> nn.Module:
    first, second = nn.Conv2d(3, outputs[0], 3), nn.Conv2d(3, outputs[1], 3, bias=False)
    return Net(forward, first=first, second=second, norm=norm or nn.BatchNorm2d(4))


ZOO.add("add", lambda: two(lambda s, x: torch.relu(s.norm(s.first(x) + s.second(x)))), IMAGE, left="add")
ZOO.add("difference", lambda: two(lambda s, x: torch.relu(s.norm(s.first(x) - s.second(x)))), IMAGE, left="sub|add")
ZOO.add(
    "add_with_alpha",
    lambda: two(lambda s, x: torch.relu(s.norm(torch.add(s.first(x), s.second(x), alpha=2)))),
    IMAGE,
    left="add|add batch_norm",
    folded=None,
)
ZOO.add("add_in_place", lambda: two(lambda s, x: torch.relu(s.norm(s.first(x).add_(s.second(x))))), IMAGE, left="add")
ZOO.add(
    "add_of_a_branch_with_another_reader",
    lambda: two(lambda s, x: torch.relu(s.norm((y := s.first(x)) + s.second(x))) + torch.sigmoid(y)),
    IMAGE,
    folded=0,
    left="add batch_norm add",
    refused=("",),
)
ZOO.add(
    "concat",
    lambda: two(
        lambda s, x: torch.relu(s.norm(torch.cat((s.first(x), s.second(x)), 1))), outputs=(4, 2), norm=nn.BatchNorm2d(6)
    ),
    IMAGE,
)
ZOO.add(
    "concat_with_a_nonlinear_part",
    lambda: two(
        lambda s, x: torch.relu(s.norm(torch.cat((s.first(x), torch.relu(s.second(x))), 1))),
        outputs=(4, 2),
        norm=nn.BatchNorm2d(6),
    ),
    IMAGE,
    folded=0,
    left="batch_norm",
    refused=("",),
)


@ZOO.case(IMAGE, folded=2)
def split_each_part_with_its_norm() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        first, second = torch.split(self.conv(x), (4, 2), 1)
        return torch.cat((torch.relu(self.one(first)), torch.sigmoid(self.two(second))), 1)

    return Net(forward, conv=nn.Conv2d(3, 6, 3), one=nn.BatchNorm2d(4), two=nn.BatchNorm2d(2))


@ZOO.case(IMAGE)
def chunk_and_concat() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        first, second = self.conv(x).chunk(2, 1)
        return torch.relu(self.norm(torch.cat((second, first), 1)))

    return Net(forward, conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6))


def parts(cut: Any, *channels: int) -> nn.Module:
    """A convolution of six channels, cut, and a norm after each part."""
    norms = {f"norm{i}": nn.BatchNorm2d(n) for i, n in enumerate(channels)}

    def forward(self: Any, x: Tensor) -> Tensor:
        pieces = cut(self.conv(x))
        return torch.cat([torch.relu(getattr(self, name)(y)) for name, y in zip(norms, pieces, strict=True)], 1)

    return Net(forward, conv=nn.Conv2d(3, 6, 3), **norms)


INDEX = torch.tensor([5, 0, 3])
CUTS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "slices": (lambda y: (y[:, :2], y[:, 2:]), (2, 4)),
    "slices_out_of_order": (lambda y: (y[:, -3:], y[:, :3]), (3, 3)),
    "slices_with_a_gap": (lambda y: (y[:, :2], y[:, 4:]), (2, 2)),
    "every_second": (lambda y: (y[:, 1::2], y[:, ::2]), (3, 3)),
    "narrow": (lambda y: (y.narrow(1, 0, 1), y.narrow(1, 1, 5)), (1, 5)),
    "chunk": (lambda y: y.chunk(3, 1), (2, 2, 2)),
    "index_select": (lambda y: (y.index_select(1, INDEX),), (3,)),
    "index": (lambda y: (y[:, [4, 2, 1]], y[:, [5]]), (3, 1)),
    "flip": (lambda y: (y.flip(1),), (6,)),
    "flip_of_two_axes": (lambda y: (y.flip([1, 3]),), (6,)),
    "roll": (lambda y: (y.roll(2, 1),), (6,)),
    "roll_of_three_axes": (lambda y: (y.roll((-1, 3, 1), (2, 1, -1)),), (6,)),
    "unbind": (lambda y: [each.unsqueeze(1) for each in y.unbind(1)[1:3]], (1, 1)),
    "crop": (lambda y: (y[:, :, 1:-1, 2:],), (6,)),
    "crop_and_slice": (lambda y: (y[:, 2:, 1:-1],), (4,)),
    "select_and_back": (lambda y: (y[:, 3].unsqueeze(1),), (1,)),
}
for _name, (_cut, _channels) in CUTS.items():
    ZOO.add(f"parts_by_{_name}", lambda c=_cut, n=_channels: parts(c, *n), IMAGE, folded=len(_channels))
ZOO.add(
    "parts_that_overlap",
    lambda: parts(lambda y: (y[:, :4], y[:, 2:]), 4, 4),
    IMAGE,
    folded=0,
    left="batch_norm batch_norm",
    refused=("more than once", "more than once"),
)
ZOO.add(
    "channels_chosen_in_front_of_a_layer",
    lambda: Net(
        lambda s, x: s.conv(s.norm(torch.relu(x))[:, [2, 0, 0]]), norm=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 4, 3)
    ),
    IMAGE,
)


# Choices.

MASK = torch.tensor([True, False, False, True, False, True])


def chosen(pick: Any, channels: int = 4) -> nn.Module:
    return Net(
        lambda s, x: torch.relu(s.norm(pick(s.conv(x), x[:, :1] > 0.3))),
        conv=nn.Conv2d(3, channels, 3, padding=1),
        norm=nn.BatchNorm2d(channels),
    )


CHOICES: dict[str, Any] = {
    "masked_fill": lambda y, mask: y.masked_fill(mask, 0.7),
    "masked_fill_in_place": lambda y, mask: y.clone().masked_fill_(mask, 0.7) + 0.0,
    "masked_fill_by_a_tensor": lambda y, mask: y.masked_fill(mask, torch.tensor(0.7, dtype=y.dtype)),
    "masked_fill_by_a_fixed_mask": lambda y, _: y.masked_fill(MASK, 2.0),
    "where_else_a_number": lambda y, mask: torch.where(mask, y, -1.5),
    "where_a_number": lambda y, mask: torch.where(mask, 0.5, y),
    "where_else_a_channel_each": lambda y, mask: torch.where(mask, y, torch.arange(4.0, dtype=y.dtype).view(4, 1, 1)),
    "where_else_a_row": lambda y, mask: torch.where(mask, y, torch.arange(6.0, dtype=y.dtype)),
}
for _name, _pick in CHOICES.items():
    ZOO.add(_name, lambda p=_pick: chosen(p), IMAGE, left="add|" if "in_place" in _name else "")
ZOO.add(
    "masked_fill_with_infinity",
    lambda: chosen(lambda y, mask: y.masked_fill(mask, float("inf")).clamp(max=5.0)),
    IMAGE,
    left="batch_norm",
    folded=0,
    refused=("nonlinearity",),
)
ZOO.add(
    "masked_fill_after_the_norm",
    lambda: Net(
        lambda s, x: s.conv(s.norm(torch.relu(x)).masked_fill(x > 1, 0.0)),
        norm=nn.BatchNorm2d(3),
        conv=nn.Conv2d(3, 4, 3),
    ),
    IMAGE,
    left="batch_norm",
    folded=0,
    refused=("chooses between it and something else",),
)


# Sharing.


@ZOO.case(IMAGE, folded=2, left="add")
def tied_weights_and_two_norms() -> nn.Module:
    net = Net(
        lambda s, x: torch.relu(s.one(s.a(x))) + torch.relu(s.two(s.b(x))),
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 4, 3),
        one=nn.BatchNorm2d(4),
        two=nn.BatchNorm2d(4),
    )
    net.b.weight = net.a.weight  # type: ignore[union-attr]
    return net


@ZOO.case(IMAGE, folded=1, left="add")
def tied_weights_and_one_norm() -> nn.Module:
    net = Net(
        lambda s, x: torch.relu(s.one(s.a(x))) + torch.relu(s.b(x)),
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 4, 3),
        one=nn.BatchNorm2d(4),
    )
    net.b.weight, net.b.bias = net.a.weight, net.a.bias  # type: ignore[union-attr]
    return net


@ZOO.case((2, 4, 9, 8), folded=2)
def a_convolution_called_twice() -> nn.Module:
    """One module, two calls, a norm for each."""
    return Net(
        lambda s, x: torch.relu(s.two(s.conv(torch.relu(s.one(s.conv(x)))))),
        conv=nn.Conv2d(4, 4, 3),
        one=nn.BatchNorm2d(4),
        two=nn.BatchNorm2d(4),
    )


@ZOO.case((2, 4, 9, 8), folded=None)
def a_norm_called_twice() -> nn.Module:
    """One norm after two convolutions; it counts once or twice."""
    return Net(
        lambda s, x: torch.relu(s.norm(s.b(torch.relu(s.norm(s.a(x)))))),
        a=nn.Conv2d(4, 4, 3),
        b=nn.Conv2d(4, 4, 3),
        norm=nn.BatchNorm2d(4),
    )


@ZOO.case((2, 4, 9, 8), folded=None)
def a_block_called_twice() -> nn.Module:
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(block, block)
