"""Faults of the same kinds on networks that no limit of `diff` was chosen on (`benchmarks.diff --held-out`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.diff_pairs import (
    HalfNorm,
    Offset,
    PlantedPair,
    Prepared,
    SinglePrecisionNorm,
    Source,
    Swapped,
    changed,
    colours,
    exported,
    grouped,
    instance_of,
    noisy,
    program,
    settled,
    untracked,
    with_attribute,
    with_layer,
    with_layers,
)
from tests.nets.densenet import densenet121
from tests.nets.inception import InceptionV3
from tests.nets.resnet import resnet18
from tests.nets.resnet20 import load_resnet20, prepare

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


class Logits(nn.Module):
    """A Hugging Face model that takes images and returns a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(pixel_values=x).logits


def held_out_pairs() -> Iterator[PlantedPair]:
    """All of them; ResNet20 and its images where they are there."""
    yield from _convolutional("DenseNet", lambda: settled(densenet121()), "features.conv0")
    yield from _convolutional("ResNet18", lambda: settled(resnet18()), "conv1")
    yield from _inception()
    yield from _group_norms()
    yield from _vision_transformer()
    if (REAL / "akamaster").is_dir():
        net = lambda: load_resnet20(REAL / "akamaster" / "resnet20-12fca82f.th").eval()  # noqa: E731
        yield from _convolutional("ResNet20", net, "conv1", images)
        yield from _resnet20(net)


@cache
def images() -> np.ndarray:
    return prepare(REAL / "cifar10" / "test_100.npz")[:32].astype(np.float32)


def larger() -> np.ndarray:
    """InstanceNorm wants more than one position, also in the last layer."""
    return np.random.default_rng(1).uniform(0, 1, (8, 3, 64, 64)).astype(np.float32)


Make = Callable[[], nn.Module]


def _with(
    net: Make, change: Callable[[nn.Module], Any], data: Callable[[], np.ndarray], exporter: str, folder: Path
) -> tuple[Source, Source]:
    right = net()
    return right, exported(changed(right, change), folder / "b.onnx", data(), exporter)


def _convolutional(name: str, net: Make, first: str, data: Callable[[], np.ndarray] = colours) -> Iterator[PlantedPair]:
    """What goes wrong with any network with BatchNorm."""
    norms = [path for path, each in net().named_modules() if isinstance(each, nn.BatchNorm2d)]
    norm = norms[2 * len(norms) // 3]

    def eps(other: nn.Module) -> None:
        other.get_submodule(norm).eps = 3e-3

    def statistics(other: nn.Module) -> None:
        other.get_submodule(norm).running_var.mul_(1.3)

    def training(folder: Path) -> tuple[Source, Source]:
        return net(), exported(net(), folder / "b.onnx", data(), "script17", training=True)

    def swapped(folder: Path) -> tuple[Source, Source]:
        right = net()
        return right, exported(with_layer(right, first, lambda each: Swapped(each, 2, 3)), folder / "b.onnx", data())

    yield PlantedPair(f"{name}: eps", "other_eps", (norm,), partial(_with, net, eps, data, "dynamo"), data)
    yield PlantedPair(
        f"{name}: variance", "other_statistics", (norm,), partial(_with, net, statistics, data, "script17"), data
    )
    tuned = partial(_with, net, lambda other: noisy(other, 0.03), data, "dynamo")
    yield PlantedPair(f"{name}: fine-tuned", "other_weights", (first,), tuned, data)
    yield PlantedPair(f"{name}: images on their side", "axes_swapped", (first, f"{first}.inner"), swapped, data)
    yield PlantedPair(f"{name}: training mode", "training_mode", (norms[0],), training, data)


def _inception() -> Iterator[PlantedPair]:
    def wide() -> np.ndarray:
        return np.random.default_rng(1).uniform(0, 1, (8, 3, 96, 96)).astype(np.float32)

    def net() -> nn.Module:
        torch.manual_seed(1)
        return settled(InceptionV3(), wide())

    def one(folder: Path) -> tuple[Source, Source]:
        path = exported(net(), folder / "a.onnx", wide())
        return path, with_attribute(path, folder / "b.onnx", "BatchNormalization", 3, "training_mode", 1)

    convs = [path for path, each in net().named_modules() if isinstance(each, nn.Conv2d)]
    norms = [path for path, each in net().named_modules() if isinstance(each, nn.BatchNorm2d)]
    yield PlantedPair("Inception: one norm in training mode", "training_mode", (norms[3],), one, wide)
    tuned = partial(_with, net, lambda other: noisy(other.get_submodule(convs[2]), 0.05), wide, "dynamo")
    yield PlantedPair("Inception: one layer", "other_weights", (convs[2],), tuned, wide)


def _group_norms() -> Iterator[PlantedPair]:
    def net() -> nn.Module:
        return _as(lambda norm: nn.GroupNorm(2, norm.num_features))

    def tracked() -> nn.Module:
        made = _as(lambda norm: nn.InstanceNorm2d(norm.num_features, affine=True, track_running_stats=True))
        with torch.no_grad():
            made.train()(torch.from_numpy(larger()))
        return made.eval()

    def make(source: Make, swap: Callable[[nn.Module], nn.Module], some: slice, folder: Path) -> tuple[Source, Source]:
        right = source()
        paths = [path for path, each in right.named_modules() if isinstance(each, nn.GroupNorm | nn.InstanceNorm2d)]
        return right, program(with_layers(right, paths[some], swap), folder / "b.pt2", larger())

    norms = [path for path, each in resnet18().named_modules() if isinstance(each, nn.BatchNorm2d)]
    every, fifth = slice(None), slice(5, 6)
    yield PlantedPair(
        "GroupNorm as instance", "other_groups", norms[:1], partial(make, net, instance_of, every), larger
    )
    yield PlantedPair(
        "GroupNorm of one group", "other_groups", norms[5:6], partial(make, net, grouped(1), fifth), larger
    )
    yield PlantedPair(
        "InstanceNorm", "instance_statistics", norms[5:6], partial(make, tracked, untracked, fifth), larger
    )


def _as(make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(2)
    net = resnet18()
    paths = [path for path, each in net.named_modules() if isinstance(each, nn.BatchNorm2d)]
    return with_layers(net, paths, make).eval()


def _vision_transformer() -> Iterator[PlantedPair]:
    def net() -> nn.Module:
        from transformers import ViTConfig, ViTForImageClassification

        torch.manual_seed(3)
        sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
        config = ViTConfig(**sizes, image_size=32, patch_size=8, attn_implementation="eager", num_labels=7)
        return Logits(ViTForImageClassification(config)).eval()

    names = [path for path, each in net().named_modules() if isinstance(each, nn.LayerNorm)]
    norm = names[2]

    def eps(other: nn.Module) -> None:
        other.get_submodule(norm).eps = 1e-2

    def missing(folder: Path) -> tuple[Source, Source]:
        mean, std = [0.5, 0.5, 0.5], [0.2, 0.25, 0.3]
        return Prepared(net(), mean, std), exported(Prepared(net(), mean, std, 0), folder / "b.onnx", colours())

    def half(_: Path) -> tuple[Source, Source]:
        right = with_layers(net(), names, lambda each: SinglePrecisionNorm(each, True)).to(torch.bfloat16).half()
        right = with_layer(right, norm, lambda each: Offset(each, 80.0, 1))
        return right, with_layer(right, f"{norm}.norm", lambda each: HalfNorm(each, True))

    def gelu(folder: Path) -> tuple[Source, Source]:
        right = net()
        paths = [path for path, each in right.named_modules() if type(each).__name__.startswith("GELU")]
        wrong = with_layer(right, paths[-1], lambda each: nn.GELU(approximate="tanh"))
        return right, exported(wrong, folder / "b.onnx", colours())

    yield PlantedPair("ViT: eps", "other_eps", (norm,), partial(_with, net, eps, colours, "dynamo"), colours)
    first = [f"net.{path}" for path, each in net().named_modules() if isinstance(each, nn.Conv2d)]
    places = (*first, "div", "sub")
    yield PlantedPair("ViT: normalization missing", "input_normalization", places, missing, colours)
    layers = (norm, f"{norm}.norm")
    yield PlantedPair("ViT: half", "half_accumulation", layers, half, lambda: colours().astype("float16"))
    acts = tuple(path for path, each in net().named_modules() if type(each).__name__.startswith("GELU"))
    yield PlantedPair("ViT: GELU by tanh", "other_activation", acts[-1:], gelu, colours)


def _resnet20(net: Make) -> Iterator[PlantedPair]:
    def raw() -> np.ndarray:
        with np.load(REAL / "cifar10" / "test_100.npz") as arrays:
            return (arrays["x"][:32].transpose(0, 3, 1, 2) / 255).astype(np.float32)

    def make(times: int, folder: Path) -> tuple[Source, Source]:
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        return Prepared(net(), mean, std), exported(
            Prepared(net(), mean, std, times), folder / "b.onnx", raw(), "script17"
        )

    for times, word in ((0, "missing"), (2, "doubled")):
        places = ("net.conv1", "div", "sub")
        yield PlantedPair(f"ResNet20: normalization {word}", "input_normalization", places, partial(make, times), raw)
