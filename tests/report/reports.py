"""Reports made by hand, one of each sort that people meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps

import numpy as np

from normdiag.diagnosis import CAUSES, coverage, diagnosed
from normdiag.records import (
    ActivationMetrics,
    Attribution,
    DataInfo,
    Drift,
    Finding,
    FoldedNorm,
    Gap,
    GradientProduct,
    GroupMetrics,
    LayerMetrics,
    ModelInfo,
    NormLayer,
    OutputChange,
    OverChannels,
    Point,
    ProfiledData,
    ProfiledModel,
    Recalibration,
    Report,
    StoredFit,
)
from normdiag.records.reference import PointDrift, ReferenceComparison
from normdiag.rules import RULES, with_findings
from tests.report.half_report import half_precision


def _covered(make: Callable[[], Report]) -> Callable[[], Report]:
    """A report with what it rests on, as `inspect` adds it."""

    @wraps(make)
    def made() -> Report:
        report = make()
        return replace(report, coverage=coverage(report, RULES))

    return made


def drift_of(z: np.ndarray, r: np.ndarray, se: float = 0.004, samples: int = 1000) -> Drift:
    """A drift record that is consistent in itself, with the same errors in every channel."""
    d, errors = np.hypot(z, r - 1.0), np.full_like(z, se)
    floor = np.full_like(z, np.hypot(se, se))
    corrected = np.sqrt(np.maximum(d**2 - floor**2, 0.0))
    rms, square = float(np.sqrt(np.mean(d**2))), float(np.mean(corrected**2))
    over_z, over_r = over_channels(z, 0.0, se), over_channels(r, 1.0, se)
    square_se = 2.0 * se * float(np.sqrt(square))
    return Drift(samples, z, r, d, errors, errors, errors, corrected, floor, rms, square, square_se, over_z, over_r)


def over_channels(values: np.ndarray, agreement: float, se: float) -> OverChannels:
    """The figures of z or r over the channels."""
    rms = float(np.sqrt(np.mean((values - agreement) ** 2)))
    return OverChannels(rms, se, float(values.mean()), se, float(values.std()), se)


def random_drift(seed: int, channels: int, size: float, se: float = 0.004) -> Drift:
    """A drift of about `size`, spread over the channels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.0, size / np.sqrt(2.0), channels)
    return drift_of(z, 1.0 + rng.normal(0.0, size / np.sqrt(2.0), channels), se)


def batch_norm(name: str, channels: int, seed: int = 0) -> NormLayer:
    """A BatchNorm layer with all that a checkpoint can hold."""
    rng = np.random.default_rng(seed)
    return NormLayer(
        name,
        "batch_norm",
        "module",
        channels=channels,
        eps=1e-5,
        momentum=0.1,
        gamma=rng.normal(1.0, 0.2, channels).astype(np.float32),
        beta=rng.normal(0.0, 0.2, channels).astype(np.float32),
        running_mean=rng.normal(0.0, 1.0, channels).astype(np.float32),
        running_var=rng.uniform(0.2, 3.0, channels).astype(np.float32),
        num_batches_tracked=64_000,
        training=False,
        class_name="BatchNorm2d",
    )


def resnet_names(blocks: int = 3) -> list[str]:
    """The BatchNorm layers of a ResNet for CIFAR-10."""
    return ["bn1"] + [f"layer{s}.{b}.bn{i}" for s in (1, 2, 3) for b in range(blocks) for i in (1, 2)]


def resnet_layers(blocks: int = 3, size: float = 0.12) -> tuple[LayerMetrics, ...]:
    """Those layers with drifts of about `size`, growing a little along the depth."""
    layers = []
    for index, name in enumerate(resnet_names(blocks)):
        channels = 16 * 2 ** max(int(name[5:6] or 1) - 1, 0) if name != "bn1" else 16
        drift = random_drift(index, channels, size * (1.0 + 0.03 * index))
        own = random_drift(100 + index, channels, 0.4 * size)
        fit = StoredFit(0.002, 0.004, 0.98, 0.998, 0.996)
        layer = batch_norm(name, channels, index)
        layers.append(LayerMetrics(layer, 16, drift, own, 0.02 + 0.001 * index, None, 21.0 + index, 4.0, fit))
    return tuple(layers)


def relus(
    names: tuple[str, ...] = ("relu", "layer1.relu", "layer2.relu", "layer3.relu"),
) -> tuple[ActivationMetrics, ...]:
    """ReLUs as they are in a healthy network."""
    return tuple(
        ActivationMetrics(name, "relu", 0.41 + 0.05 * i, 0.59 - 0.05 * i, 64, 0) for i, name in enumerate(names)
    )


MODEL = ModelInfo("models/resnet20.th", "torch-legacy", "pytorch", "0" * 64, 1_114_000, 269_722)
DATA = DataInfo("cifar10/train_1000.npz", 1000, 64, 16, False, "imagenet")
GAP = Gap("output", 0.0813, 0.012, 0.0041, 64, 1000, 0.62, 0.38, None, 0.0032, 0.0035, 0.0009)
RECALIBRATION = Recalibration(
    "output",
    256,
    64,
    OutputChange(0.0641, 0.0041, 0.0078, 0.0051, 0.0026, 0.0008),
    OutputChange(0.0502, 0.0022, 0.0039, 0.0037, 0.0015, 0.0005),
)
GRADIENT = GradientProduct(4, 0.0712, 0.2668, 0.25**4)


@_covered
def healthy() -> Report:
    """Nothing to complain about."""
    notes = ("took 'state_dict' of the file",)
    return Report(MODEL, DATA, resnet_layers(), relus(), GRADIENT, GAP, notes=notes, recalibration=RECALIBRATION)


@_covered
def faulty() -> Report:
    """A long model with findings of every severity, dead units, and the gap put down to layers."""
    layers = list(resnet_layers(blocks=9))
    layers[7] = replace(layers[7], drift=random_drift(7, 16, 2.4, 0.03), own=random_drift(8, 16, 2.2, 0.03))
    dead = ActivationMetrics("layer3.8.relu", "relu", 0.97, 0.03, 64, 41)
    attribution = tuple(Attribution(m.layer.name, 0.9 / (i + 1) - 0.05) for i, m in enumerate(layers[7:20]))
    gap = replace(GAP, relative_rms=0.713, top1_disagreement=0.4, attribution=attribution)
    return Report(MODEL, DATA, tuple(layers), (*relus(), dead), GRADIENT, gap, _findings(layers))


def _findings(layers: list[LayerMetrics]) -> tuple[Finding, ...]:
    name = layers[7].layer.name
    cause = Finding(
        "ND301",
        "drift",
        "error",
        "high",
        (name,),
        "its stored statistics are 2.4 +/- 0.03 standard deviations from those of the data; "
        "local drift 2.2, so this layer is where it begins.",
        "Recalibrate with training data, or check that the statistics belong to these weights.",
        {"drift": 2.4, "lower": 2.34},
    )
    inherited = [
        Finding(
            "ND301",
            "drift",
            "warning",
            "medium",
            (m.layer.name,),
            f"drift 0.5 +/- 0.01, inherited from {name}.",
            f"Mend {name} first.",
        )
        for m in layers[8:14]
    ]
    dead = Finding("ND402", "dead-units", "info", "high", ("layer3.8.relu",), "41 of 64 units are dead.", "")
    return (dead, *inherited, cause)


@_covered
def static_only() -> Report:
    """Weights alone: eps and momentum are not in the file, and one layer could be of two kinds."""
    layers = [LayerMetrics(replace(m.layer, eps=None, momentum=None)) for m in resnet_layers(blocks=1)]
    pair = NormLayer("head.norm", "layer_or_group_norm", "weights", 64, gamma=np.linspace(0.5, 1.5, 64))
    model = replace(
        MODEL,
        backend="weights",
        notes=("took the dict 'state_dict' of the file; 'module.' was stripped from 122 keys",),
    )
    why = "the file holds weights without code; --arch pkg.module:factory builds the module"
    return Report(model, None, (*layers, LayerMetrics(pair)), why_not_run=why)


@_covered
def transformer() -> Report:
    """LayerNorm and RMSNorm, with an outlier channel, an overflow in half precision, and one group of one element."""
    layers = [_group_layer(index) for index in range(6)]
    layers[4] = replace(
        layers[4], groups=replace(layers[4].groups, abs_max=913.4, half_overflow=True, outlier_ratio=211.0)
    )
    head = NormLayer("head.norm", "group_norm", "module", 32, 1e-5, gamma=np.ones(32), groups=32)
    single = GroupMetrics(1, 0.0, 0.0, 3.2, np.ones(32), 0, 1.0, False, True)
    gelus = tuple(ActivationMetrics(f"blocks.{i}.mlp.act", "gelu", 0.08 + 0.02 * i, 0.4, 256, 0) for i in range(3))
    model = ModelInfo("vit.onnx", "onnx", "onnx", "1" * 64, 22_000_000, 5_500_000)
    data = DataInfo("images/*.png", 200, 8, 25, False, "imagenet")
    gradient = GradientProduct(3, 0.064, 0.253, 0.25**3)
    return Report(model, data, (*layers, LayerMetrics(head, 25, groups=single)), gelus, gradient)


def _group_layer(index: int) -> LayerMetrics:
    name = f"blocks.{index // 2}.norm{index % 2 + 1}"
    kind = "rms_norm" if index == 5 else "layer_norm"
    rng = np.random.default_rng(index)
    layer = NormLayer(name, kind, "decomposed", 192, 1e-6, gamma=rng.normal(1, 0.3, 192), normalized_rank=1)
    rms = rng.uniform(0.5, 1.5, 192)
    groups = GroupMetrics(192, 0.011 * (index + 1), 0.8, 14.2 + index, rms, int(np.argmax(rms)), 1.9, False, False)
    return LayerMetrics(layer, 25, groups=groups)


@_covered
def on_random_data() -> Report:
    """Made-up inputs."""
    data = DataInfo("random", 64, 8, 8, True)
    return Report(
        MODEL, data, resnet_layers(blocks=1, size=0.9), relus(), GRADIENT, replace(GAP, batch_size=8, samples=64)
    )


@_covered
def interrupted() -> Report:
    """Stopped by Ctrl-C, early: a single sample has no error bar, and one layer was not reached."""
    first = resnet_layers(blocks=1)
    unsure = {"own": None, "noise": None, "effective_samples": None, "stored_fit": None}
    layers = [replace(m, drift=replace(m.drift, square_se=float("inf"), samples=1), **unsure) for m in first]
    layers[-1] = LayerMetrics(layers[-1].layer)
    data = replace(DATA, samples=1, batch_size=1, batches=1)
    return Report(MODEL, data, tuple(layers), relus(), GRADIENT, interrupted=True)


@_covered
def hostile() -> Report:
    """Names that would turn the terminal's colours, forge lines or reverse the text."""
    names = [
        "[red]boo[/red]",
        "a\x1b[31mred\x1b[0m",
        "line\nforged: ok",
        "evil\u202egnp.exe",
        "[/]",
        "x" * 10_000,
        "\ud800",
    ]
    layers = tuple(
        LayerMetrics(replace(batch_norm(n, 4), notes=(f"note of {n}",)), 1, random_drift(1, 4, 0.1)) for n in names
    )
    finding = Finding("ND301", "drift", "error", "high", (names[1],), "bad", "do [bold]this[/bold]\x1b[2J")
    model = replace(MODEL, path="dir\x1b]0;title\x07/[link=http://x]m.pt", notes=("stripped '[/x]'\r",))
    return Report(model, replace(DATA, source="\x1b[2J.npy"), layers, findings=(finding,), notes=("note\x9b31m",))


@_covered
def folded_away() -> Report:
    """An ONNX file whose norms the exporter folded, one of them without a name for it."""
    model = ModelInfo("resnet.onnx", "onnx", "onnx", "2" * 64, 46_000_000, 11_678_912)
    names = [name.replace("bn", "conv") for name in resnet_names()]
    folded = [FoldedNorm(n.replace("conv", "bn"), n, "torch.onnx (dynamo)", certain=True) for n in names]
    folded[-1] = FoldedNorm(None, names[-1], "torch.onnx (dynamo)", certain=True)
    return Report(model, DATA, (), relus(), GRADIENT, folded=tuple(folded))


@_covered
def referenced() -> Report:
    """A folded export beside a profile of the network as it was: its input is prepared otherwise."""
    sizes = [3.1, 2.2, 0.9, 0.4, 0.02]
    points = [Point("input", "x"), *(Point("activation", f"relu{i}", "relu") for i in (1, 2, 3)), Point("output", "y")]
    theirs = [Point("input", "input"), *points[1:-1], Point("output", "output")]
    found = tuple(
        PointDrift(point, other, random_drift(index, 16, size))
        for index, (point, other, size) in enumerate(zip(points, theirs, sizes, strict=True))
    )
    model = ProfiledModel("net.pt", "torch-zip", "pytorch", "3" * 64, 11_678_912)
    profiled = ProfiledData(("train/",), 5000, "imagenet", "imagenet")
    missing = tuple(Point("norm", f"bn{i}", "batch_norm") for i in (1, 2, 3))
    reference = ReferenceComparison("train.profile", model, profiled, found, (), missing)
    report = replace(folded_away(), reference=reference, data=replace(DATA, preprocess="unit", random=False))
    return diagnosed(with_findings(report, RULES), CAUSES)


REPORTS = {
    "healthy": healthy,
    "faulty": faulty,
    "static": static_only,
    "transformer": transformer,
    "random": on_random_data,
    "interrupted": interrupted,
    "folded": folded_away,
    "referenced": referenced,
    "half": half_precision,
}
