"""A random network of the grammar as a PyTorch module in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.folding.zoo.grammar import Network, Part

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


class Decomposed(nn.Module):
    """A BatchNorm in elementary operations."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).detach().clone().view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.running_mean) * torch.rsqrt(self.running_var + 1e-3) * self.weight + self.bias


class Across(nn.Module):
    """A constant along the channels, for a plain scale or shift."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.randn(part.shape[0], *[1] * (len(part.shape) - 1)))


class RandomNet(nn.Module):
    """Runs the parts one after the other; those with parameters are modules `part<index>`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        torch.manual_seed(network.seed)
        self.network = network
        self.weights: dict[tuple[int, ...], nn.Parameter] = {}
        for index, part in enumerate(network.parts):
            made = self.make(part)
            if made is not None:
                self.add_module(f"part{index}", made)
        self.weights = {}
        self.double().eval()

    def make(self, part: Part) -> nn.Module | None:
        match part.kind:
            case "linear":
                return self.tied(part, self.linear(part))
            case "norm":
                return norm(part)
            case "instance":
                return nn.InstanceNorm2d(part.channels, affine=True)
            case "scale" | "shift":
                return Across(part)
            case "dropout":
                return nn.Dropout(0.4)
        return None

    def linear(self, part: Part) -> Any:
        inputs = self.network.parts[part.reads[0]].channels
        if len(part.shape) == 1:
            return nn.Linear(inputs, part.channels, bias=part.bias or part.form == "matmul_add")
        kind: Any = nn.ConvTranspose2d if part.form == "up" else nn.Conv2d
        options = {"groups": part.groups, "bias": part.bias, "padding": 1 if part.padded else 0}
        return kind(inputs, part.channels, part.kernel, **options)

    def tied(self, part: Part, layer: Any) -> nn.Module:
        """With the weight of another layer of this shape, where it is shared."""
        shape = tuple(layer.weight.shape)
        if part.shared and shape in self.weights:
            layer.weight = self.weights[shape]
        self.weights[shape] = layer.weight
        return layer  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values: dict[int, Any] = {}
        for index, part in enumerate(self.network.parts):
            reads = [values[read] for read in part.reads] or [x]
            module = self._modules.get(f"part{index}")
            values[index] = run(part, module, reads)
        return tuple(values[index] for index in self.network.outputs)


def run(part: Part, module: Any, reads: list[Any]) -> Any:
    if part.kind in OWN:
        return OWN[part.kind](part, module, *reads)
    if module is not None:
        return module(*reads)
    return REARRANGED[part.kind](part, *reads) if part.kind in REARRANGED else reads[0]


def chosen(x: Tensor, start: int, stop: int) -> Tensor:
    return x.index_select(1, torch.arange(start, stop))


SPLITS: dict[str, Callable[[Tensor, int], Any]] = {
    "split": lambda x, first: torch.split(x, [first, x.shape[1] - first], 1),
    "slices": lambda x, first: (x[:, :first], x[:, first:]),
    "gathers": lambda x, first: tuple(
        x.index_select(1, part) for part in torch.arange(x.shape[1]).tensor_split([first])
    ),
}
# What a part does with its own module or options.
OWN: dict[str, Callable[..., Any]] = {
    "scale": lambda part, module, x: x * module.value,
    "shift": lambda part, module, x: x + module.value,
    "number": lambda part, module, x: x * 0.7 if part.form == "times" else x + 0.4,
    "act": lambda part, module, x: ACTIVATIONS[part.form](x),
    "add": lambda part, module, x, *others: x - others[0] if part.sign == -1 else sum(others, x),
    "choose": lambda part, module, x, other: torch.where(torch.arange(part.shape[-1]) % 2 == 0, x, other),
    "twice": lambda part, module, x: x + x,
    "spread": lambda part, module, x: x.mean((2, 3), keepdim=True).expand(-1, -1, *part.shape[1:]),
    "concat": lambda part, module, *parts: torch.cat(parts, 1),
    "split": lambda part, module, x: SPLITS[part.form](x, part.parts[0]),
    "piece": lambda part, module, pieces: pieces[part.number],
}
# Pools, and the same elements in another order.
REARRANGED: dict[str, Callable[[Part, Tensor], Tensor]] = {
    "global_average": lambda part, x: x.mean((2, 3), keepdim=True),
    "flatten": lambda part, x: x.flatten(1),
    "average": lambda part, x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "counted_average": lambda part, x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=True),
    "max": lambda part, x: functional.max_pool2d(x, 3, 1, 1),
    "turn": lambda part, x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "fold_positions": lambda part, x: x.flatten(2).view(-1, *part.shape),
    "pixels": lambda part, x: functional.pixel_unshuffle(functional.pixel_shuffle(x, 2), 2),
    "reverse": lambda part, x: x.flip(1),
    "shuffle": lambda part, x: functional.channel_shuffle(x, 2),
}


def norm(part: Part) -> nn.Module:
    kind: Any = nn.BatchNorm2d if len(part.shape) == 3 else nn.BatchNorm1d
    made = kind(part.channels)
    with torch.no_grad():
        made.weight.uniform_(0.3, 2.0)
        if part.gamma != "positive":
            made.weight[0] *= -1 if part.gamma == "mixed" else 0
        made.running_var.uniform_(0.2, 3.0)
        if part.shift:
            made.running_mean.normal_()
            made.bias.normal_()
    return Decomposed(made) if part.decomposed else made
