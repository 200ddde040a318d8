"""Which forty faults `benchmarks.diff` plants."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.diff_pairs import (
    SAMPLES,
    HalfNorm,
    Offset,
    PlantedPair,
    Prepared,
    SinglePrecisionNorm,
    Source,
    Swapped,
    changed,
    cnn,
    colours,
    digits,
    exported,
    grouped,
    instance_of,
    mlp,
    noisy,
    program,
    quick_gelu,
    settled,
    transformer,
    untracked,
    with_attribute,
    with_layer,
    with_layers,
)
from tests.nets.mobilenet_v2 import MobileNetV2
from tests.nets.regnet import RegNetY
from tests.nets.unet import UNet

ONE, THREE = ([0.3], [0.4]), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
NORMS = ("norm1", "norm2", "norm3")


def planted_pairs() -> tuple[PlantedPair, ...]:
    """All of them."""
    makers = (_training, _instance, _eps, _groups, _half, _inputs, _axes, _weights, _statistics, _activations)
    return tuple(pair for maker in makers for pair in maker())


def _training() -> Iterator[PlantedPair]:
    def whole(net: nn.Module, x, folder: Path) -> tuple[Source, Source]:  # type: ignore[no-untyped-def]
        return net, exported(net, folder / "b.onnx", x, "script17", training=True)

    def one(which: int, folder: Path) -> tuple[Source, Source]:
        path = exported(cnn(), folder / "a.onnx", digits())
        return cnn(), with_attribute(path, folder / "b.onnx", "BatchNormalization", which, "training_mode", 1)

    yield PlantedPair("CNN in training mode", "training_mode", ("norm1",), lambda f: whole(cnn(), digits(), f), digits)
    yield PlantedPair(
        "MLP in training mode", "training_mode", ("hidden1.norm",), lambda f: whole(mlp(), digits(), f), digits
    )
    unet = partial(whole, settled(UNet()), colours())
    yield PlantedPair("U-Net in training mode", "training_mode", ("down.0.1",), unet, colours)
    yield PlantedPair("one norm in training mode", "training_mode", ("norm2",), partial(one, 1), digits)
    yield PlantedPair("the last norm in training mode", "training_mode", ("norm3",), partial(one, 2), digits)


def _instance() -> Iterator[PlantedPair]:
    def make(paths: tuple[str, ...], exporter: str, folder: Path) -> tuple[Source, Source]:
        net = cnn("instance_stats")
        return net, exported(with_layers(net, paths, untracked), folder / "b.onnx", digits(), exporter)

    for paths, exporter in ((NORMS, "dynamo"), (NORMS[1:2], "dynamo"), (NORMS[2:], "dynamo")):
        name = f"InstanceNorm with statistics, {len(paths)} of 3 by {exporter}"
        yield PlantedPair(name, "instance_statistics", paths[:1], partial(make, paths, exporter), digits)


def _eps() -> Iterator[PlantedPair]:
    def make(net: nn.Module, path: str, eps: float, exporter: str, folder: Path) -> tuple[Source, Source]:
        def change(other: nn.Module) -> None:
            other.get_submodule(path).eps = eps

        x = colours() if isinstance(net, RegNetY) else digits()
        return net, exported(changed(net, change), folder / "b.onnx", x, exporter)

    cases = (
        (cnn(), "norm2", 1e-3, "dynamo"),
        (mlp(), "hidden2.norm", 1e-2, "script13"),
        (transformer(), "blocks.1.norm1", 1e-2, "dynamo"),
        (transformer("rms"), "blocks.0.norm2", 1e-2, "dynamo"),
        (cnn("group"), "norm1", 1e-2, "script17"),
    )
    for net, path, eps, exporter in cases:
        name = f"eps of {type(net).__name__}.{path}"
        yield PlantedPair(name, "other_eps", (path,), partial(make, net, path, eps, exporter), digits)
    small = changed(cnn("group"), lambda net: net.conv1.weight.mul_(0.02))
    yield PlantedPair("eps lost", "other_eps", ("norm1",), partial(make, small, "norm1", 0.0, "dynamo"), digits)


def _groups() -> Iterator[PlantedPair]:
    def make(paths: tuple[str, ...], swap, exporter: str, folder: Path) -> tuple[Source, Source]:  # type: ignore[no-untyped-def]
        net = cnn("group")
        return net, exported(with_layers(net, paths, swap), folder / "b.onnx", digits(), exporter)

    cases = (
        ("GroupNorm as InstanceNorm", NORMS, instance_of, "dynamo"),
        ("one GroupNorm as InstanceNorm", ("norm2",), instance_of, "script17"),
        ("GroupNorm of 8 groups", ("norm3",), grouped(8), "dynamo"),
        ("GroupNorm of one group", ("norm1",), grouped(1), "script17"),
    )
    for name, paths, swap, exporter in cases:
        yield PlantedPair(name, "other_groups", paths[:1], partial(make, paths, swap, exporter), digits)


def _half() -> Iterator[PlantedPair]:
    def make(
        norm: str, path: str, size: float, dtype: torch.dtype, archive: bool, folder: Path
    ) -> tuple[Source, Source]:
        subtract = norm == "layer"
        net = transformer(norm)
        paths = [name for name, each in net.named_modules() if isinstance(each, nn.LayerNorm | nn.RMSNorm)]
        right = with_layers(net, paths, lambda each: SinglePrecisionNorm(each, subtract)).to(dtype)
        right = with_layer(right, path, lambda each: Offset(each, size, 1 if subtract else 4))
        wrong = with_layer(right, f"{path}.norm", lambda each: HalfNorm(each, subtract))
        return right, program(wrong, folder / "b.pt2", digits().astype("float16")) if archive else wrong

    cases = (
        ("layer", "blocks.1.norm1", 60.0, torch.float16, True),
        ("layer", "norm", 100.0, torch.float16, False),
        ("rms", "blocks.0.norm2", 300.0, torch.float16, True),
        ("rms", "norm", 400.0, torch.float16, False),
    )
    for norm, path, size, dtype, archive in cases:
        name = f"{norm} norm summed in half precision, {path}"
        layers = (path, f"{path}.norm")
        made = partial(make, norm, path, size, dtype, archive)
        yield PlantedPair(name, "half_accumulation", layers, made, lambda: digits().astype("float16"))


def _inputs() -> Iterator[PlantedPair]:
    def make(net: nn.Module, times: int, exporter: str, folder: Path) -> tuple[Source, Source]:
        colour = not isinstance(net, type(cnn()))
        mean, std = THREE if colour else ONE
        x = colours() if colour else digits()
        return Prepared(net, mean, std), exported(Prepared(net, mean, std, times), folder / "b.onnx", x, exporter)

    cases = (
        ("CNN", cnn(), "net.conv1", digits),
        ("MobileNetV2", settled(MobileNetV2()), "net.features.0.0", colours),
        ("U-Net", settled(UNet()), "net.down.0.0", colours),
    )
    for name, net, first, data in cases:
        layers = (first, "div", "sub", "net.div", "scale_shift", "true_divide", "mul")
        for times, word in ((0, "missing"), (2, "doubled")):
            exporter = "dynamo" if times else "script17"
            made = partial(make, net, times, exporter)
            yield PlantedPair(f"normalization of the input {word}, {name}", "input_normalization", layers, made, data)


def _axes() -> Iterator[PlantedPair]:
    def make(net: nn.Module, path: str, one: int, two: int, by_reshape: bool, folder: Path) -> tuple[Source, Source]:
        wrong = with_layer(net, path, lambda each: Swapped(each, one, two, by_reshape))
        return net, exported(wrong, folder / "b.onnx", digits())

    yield PlantedPair(
        "images on their side", "axes_swapped", ("conv1",), partial(make, cnn(), "conv1", 2, 3, False), digits
    )
    yield PlantedPair(
        "features on their side", "axes_swapped", ("conv3",), partial(make, cnn(), "conv3", 2, 3, False), digits
    )
    tokens = partial(make, transformer(), "blocks.0.proj", 1, 2, True)
    yield PlantedPair("tokens and features mixed by a reshape", "axes_swapped", ("blocks.0.proj",), tokens, digits)


def _weights() -> Iterator[PlantedPair]:
    yield PlantedPair(
        "MLP of another step",
        "other_weights",
        ("hidden1.linear",),
        lambda f: (mlp(step=1000), SAMPLES / "digits_mlp_batch.onnx"),
        digits,
    )
    yield PlantedPair(
        "MLP without norm of another step",
        "other_weights",
        ("hidden1.linear",),
        lambda f: (program(mlp("none", 100), f / "a.pt2", digits()), SAMPLES / "digits_mlp_none.onnx"),
        digits,
    )
    yield PlantedPair(
        "one layer trained on",
        "other_weights",
        ("conv2",),
        lambda f: (cnn(), exported(changed(cnn(), lambda net: noisy(net.conv2, 0.05)), f / "b.onnx", digits())),
        digits,
    )
    yield PlantedPair(
        "fine-tuned",
        "other_weights",
        ("patches",),
        lambda f: (transformer(), program(changed(transformer(), lambda net: noisy(net, 0.02)), f / "b.pt2", digits())),
        digits,
    )
    yield PlantedPair(
        "fine-tuned RegNet",
        "other_weights",
        ("stem.0",),
        lambda f: (
            (net := settled(RegNetY())),
            exported(changed(net, lambda other: noisy(other, 0.05)), f / "b.onnx", colours()),
        ),
        colours,
    )


def _statistics() -> Iterator[PlantedPair]:
    def foreign(folder: Path) -> tuple[Source, Source]:
        net = cnn()
        net.load_state_dict(torch.load(SAMPLES / "digits_cnn_foreign.pt", weights_only=True))
        return cnn(), exported(net, folder / "b.onnx", digits())

    def moved(folder: Path) -> tuple[Source, Source]:
        wrong = changed(mlp(), lambda net: net.hidden2.norm.running_mean.add_(0.1))
        return program(mlp(), folder / "a.pt2", digits()), exported(wrong, folder / "b.onnx", digits(), "script17")

    yield PlantedPair("statistics of another model", "other_statistics", ("norm1",), foreign, digits)
    yield PlantedPair("statistics of one layer moved", "other_statistics", ("hidden2.norm",), moved, digits)


def _activations() -> Iterator[PlantedPair]:
    def make(norm: str, folder: Path) -> tuple[Source, Source]:
        net = transformer(norm)
        return net, exported(with_layer(net, "blocks.0.gelu", quick_gelu), folder / "b.onnx", digits())

    for norm in ("layer", "rms"):
        yield PlantedPair(f"GELU by tanh, {norm}", "other_activation", ("blocks.0.gelu",), partial(make, norm), digits)
