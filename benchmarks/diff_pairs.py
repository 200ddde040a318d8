"""What planted pairs are made of: networks, exporters, and ways to spoil a copy of one.

One model of a pair is as it was trained, a live module or a file; the other is an export, a file or a module in which
one thing is wrong. Faults of structure are planted in the code that is exported, as people plant them.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from sample_models.net import DigitsCNN, DigitsMLP, DigitsTransformer
from tests.nets import digits as sample

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
Source = nn.Module | Path
Plant = Callable[[Path], tuple[Source, Source]]


@dataclass(frozen=True, eq=False)
class PlantedPair:
    """`make` writes what it needs into a folder. `layers` are names of the faulty layer, one of which is right."""

    name: str
    cause: str
    layers: tuple[str, ...]
    make: Plant
    data: Callable[[], np.ndarray]


def digits(count: int = 32) -> np.ndarray:
    return sample.digits()[0][:count]


def colours() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (8, 3, 32, 32)).astype(np.float32)


def cnn(norm: str = "batch") -> nn.Module:
    name = {"batch": "digits_cnn", "group": "digits_cnn_group", "instance": "digits_cnn_instance"}
    return _loaded(DigitsCNN(norm), name.get(norm, "digits_cnn_instance_stats"))


def mlp(norm: str = "batch", step: int = 5000) -> nn.Module:
    return _loaded(DigitsMLP(norm), f"digits_mlp_{norm}_{step:04d}")


def transformer(norm: str = "layer") -> nn.Module:
    return _loaded(DigitsTransformer(norm), f"digits_transformer_{norm}")


def settled(net: nn.Module, x: np.ndarray | None = None) -> nn.Module:
    """A net with made-up weights and the statistics that they give on the data."""
    torch.manual_seed(0)
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = None
            nn.init.uniform_(each.weight, 0.7, 1.3)
            nn.init.normal_(each.bias, 0, 0.2)
    with torch.no_grad():
        net.train()(torch.from_numpy(colours() if x is None else x))
    return net.eval()


def _loaded(net: nn.Module, name: str) -> nn.Module:
    net.load_state_dict(torch.load(SAMPLES / f"{name}.pt", weights_only=True))
    return net.eval()


def exported(net: nn.Module, path: Path, x: np.ndarray, exporter: str = "dynamo", *, training: bool = False) -> Path:
    """An .onnx file in which every layer is still to be seen."""
    logging.disable(logging.ERROR)
    example = (torch.from_numpy(x[:3]),)
    net = copy.deepcopy(net)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            free = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(net, example, path, dynamo=True, optimize=False, dynamic_shapes=free, verbose=False)
        else:
            mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.PRESERVE
            opset = int(exporter.removeprefix("script"))
            axes = {"x": {0: "batch"}}
            torch.onnx.export(
                net.train() if training else net,
                example,
                path,
                dynamo=False,
                training=mode,
                input_names=["x"],
                dynamic_axes=axes,
                do_constant_folding=not training,
                opset_version=opset,
            )
    logging.disable(logging.NOTSET)
    return path


def program(net: nn.Module, path: Path, x: np.ndarray) -> Path:
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(net, (torch.from_numpy(x[:3]),), dynamic_shapes=free), path)
    return path


def changed(net: nn.Module, change: Callable[[nn.Module], Any]) -> nn.Module:
    """A copy with something done to it."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        change(other)
    return other


def with_layer(net: nn.Module, path: str, make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A copy with one module replaced."""

    def change(other: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(other.get_submodule(parent), name, make(other.get_submodule(path)))

    return changed(net, change)


def with_layers(net: nn.Module, paths: Iterable[str], make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    for path in paths:
        net = with_layer(net, path, make)
    return net


def with_attribute(source: Path, target: Path, operator: str, which: int, name: str, value: float | int) -> Path:
    """A copy of an .onnx file with one attribute of one node changed."""
    model = onnx.load(source)
    node = [each for each in model.graph.node if each.op_type == operator][which]
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
    if name == "training_mode":
        node.output[:] = [node.output[0], f"{node.name}_mean", f"{node.name}_var"]
    onnx.save(model, target)
    return target


class HalfNorm(nn.Module):
    """A LayerNorm or RMSNorm that somebody wrote out in half precision: squares and their mean in that of the data."""

    def __init__(self, norm: nn.Module, subtract: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, getattr(norm, "bias", None), norm.eps
        self.subtract = subtract

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True) if self.subtract else torch.zeros_like(x[..., :1])
        variance = (x * x).mean(-1, keepdim=True) - mean * mean
        y = (x - mean) / torch.sqrt(variance.clamp_min(0) + self.eps) * self.weight
        return y if self.bias is None else y + self.bias


class SinglePrecisionNorm(HalfNorm):
    """The same as it should be: summed up in float32, and rounded once."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y - y.mean(-1, keepdim=True) if self.subtract else y
        y = y / torch.sqrt((y * y).mean(-1, keepdim=True) + self.eps) * self.weight.float()
        return (y if self.bias is None else y + self.bias.float()).to(x.dtype)


class Offset(nn.Module):
    """Adds what a residual stream carries in large models: features far from zero, every one or one of `every`."""

    def __init__(self, norm: nn.Module, size: float, every: int) -> None:
        super().__init__()
        self.norm = norm
        lift = torch.zeros(norm.weight.shape, dtype=norm.weight.dtype)
        lift[::every] = size
        self.register_buffer("lift", lift)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.lift)


class Prepared(nn.Module):
    """A net with the normalization of its input in front, as often as it is said."""

    def __init__(self, net: nn.Module, mean: list[float], std: list[float], times: int = 1) -> None:
        super().__init__()
        self.net, self.times = net, times
        self.register_buffer("input_mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("input_std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = (x - self.input_mean) / self.input_std
        return self.net(x)


class Swapped(nn.Module):
    """A module fed with two axes of its input exchanged; `by_reshape` keeps the sizes and mixes the values."""

    def __init__(self, inner: nn.Module, one: int, two: int, by_reshape: bool = False) -> None:
        super().__init__()
        self.inner, self.one, self.two, self.by_reshape = inner, one, two, by_reshape

    def forward(self, x: Tensor) -> Tensor:
        if self.by_reshape:
            return self.inner(x.transpose(self.one, self.two).reshape(x.shape))
        return self.inner(x.transpose(self.one, self.two))


def quick_gelu(layer: nn.Module) -> nn.Module:  # noqa: ARG001
    return nn.GELU(approximate="tanh")


def noisy(layer: nn.Module, share: float) -> None:
    """Weights as some more training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for each in layer.parameters():
        each.add_(share * each.std().nan_to_num(0) * torch.randn(each.shape, generator=generator))


def instance_of(norm: nn.Module) -> nn.Module:
    """Of a GroupNorm, with its gamma and beta."""
    other = nn.InstanceNorm2d(norm.num_channels, eps=norm.eps, affine=True)
    other.load_state_dict(norm.state_dict())
    return other.eval()


def grouped(groups: int) -> Callable[[nn.Module], nn.Module]:
    def make(norm: nn.Module) -> nn.Module:
        other = nn.GroupNorm(groups, norm.num_channels, norm.eps)
        other.load_state_dict(norm.state_dict())
        return other

    return make


def untracked(norm: nn.Module) -> nn.Module:
    other = nn.InstanceNorm2d(norm.num_features, eps=norm.eps, affine=True)
    other.load_state_dict({name: value for name, value in norm.state_dict().items() if name in ("weight", "bias")})
    return other.eval()
