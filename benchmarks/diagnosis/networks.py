"""The networks in two parts: limits are set on development, figures published for what is held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from torch import nn

from benchmarks.diagnosis import image_nets, joined_nets, mixing_nets, residual_nets, samples, signal_nets
from benchmarks.diagnosis.samples import REAL, Samples
from benchmarks.diagnosis.subjects import TEST, Half, Subject, prepared, trained
from sample_models.net import DigitsCNN

MNIST = "scale=1/255,mean=0.1307,std=0.3081"


@dataclass(frozen=True, eq=False)
class Plan:
    """How a subject is made: its network, its data, its preparation, how long it is trained, what is seen of it.

    `by_heart`: it is run on half of what it was trained on, since there is no more.
    """

    net: Callable[[], nn.Module]
    data: Callable[[], Samples]
    recipe: str | None
    steps: int
    augment: bool = False
    shown: int = TEST
    batch: int = 50
    by_heart: bool = False

    def subject(self, name: str, half: Half) -> Subject:
        """Trained, or from the cache."""
        data = self.data()
        held, rest = data[:TEST], data[TEST:]
        fit = data if self.by_heart else rest
        x = prepared(fit.stored, self.recipe)
        module, foreign = (trained(name, self.net, x, fit.labels, self.steps, seed, self.augment) for seed in (0, 1))
        return Subject(name, half, module, self.recipe, held, rest[:512], foreign, self.shown, self.batch)


def _coloured(seed: int) -> Callable[[], Samples]:
    return partial(samples.digits_on_photographs, seed)


NARROW = partial(image_nets.Plain, (24, 24, 48), 1, 0.2)
TWO = partial(signal_nets.Tabular, 8, (24, 24), 2, nn.Tanh)
GELU = partial(signal_nets.Tabular, 32, (96, 64, 48), 8, nn.GELU, 0.1)
PLANS: dict[str, Plan] = {
    "resnet": Plan(residual_nets.SmallResNet, _coloured(1), "imagenet", 700),
    "mobile_relu6": Plan(partial(image_nets.Mobile, False), _coloured(2), "signed", 700),
    "plain": Plan(image_nets.Plain, samples.mnist, MNIST, 500, augment=True),
    "digits": Plan(DigitsCNN, samples.small_digits, "unit", 400),
    "table": Plan(partial(signal_nets.Tabular, 20), partial(samples.table, 1, 20, 5), None, 700),
    "two_classes": Plan(TWO, partial(samples.table, 11, 8, 2), None, 400, shown=100, batch=10),
    "mixed": Plan(image_nets.Mixed, samples.small_digits, "signed", 400, shown=200, batch=25),
    "deep": Plan(residual_nets.Deep, samples.small_digits, MNIST, 400, shown=128, batch=16),
    "short": Plan(signal_nets.Short, partial(samples.waveforms, 5, 3000, 512), None, 400, shown=64, batch=8),
    "mobile_silu": Plan(image_nets.Mobile, _coloured(3), "unit", 700),
    "audio": Plan(signal_nets.Audio, partial(samples.waveforms, 1), None, 500),
    "dropout": Plan(NARROW, samples.mnist, "signed", 400),
    "table_tanh": Plan(GELU, partial(samples.table, 7, 32, 8), None, 700),
    "dense": Plan(image_nets.PreActivation, samples.mnist, "unit", 500),
    "deeper": Plan(image_nets.Deeper, samples.mnist_halved, "unit", 500),
    "pre_activation": Plan(residual_nets.PreActivationResNet, _coloured(4), "signed", 700),
    "activation_first": Plan(image_nets.ActivationFirst, samples.mnist_halved, MNIST, 600, augment=True),
    "separable": Plan(image_nets.Separable, _coloured(5), "imagenet", 900),
    "grouped": Plan(residual_nets.Grouped, samples.mnist_halved, "signed", 500, shown=256, batch=32),
    "tiny": Plan(image_nets.Tiny, samples.small_digits, "unit", 500),
    "causal": Plan(signal_nets.Causal, partial(samples.sensors, 1), None, 500, shown=300, batch=30),
    "recurrent": Plan(signal_nets.Recurrent, partial(samples.sensors, 2), None, 500),
    "input_normed": Plan(
        partial(signal_nets.InputNormed, 64, 10), samples.digits_as_table, None, 500, shown=400, batch=40
    ),
    "excited": Plan(residual_nets.Excited, samples.cifar, "cifar", 800, augment=True, by_heart=True),
    "wide": Plan(image_nets.Wide, _coloured(6), "imagenet", 400, shown=256, batch=32),
    "conv_mixer": Plan(mixing_nets.ConvMixer, _coloured(7), "signed", 700),
    "hourglass": Plan(joined_nets.Hourglass, samples.mnist_halved, MNIST, 400, shown=300, batch=30),
    "radio": Plan(signal_nets.Radio, partial(samples.modulated, 1), None, 600, shown=256, batch=32),
    "mixer": Plan(mixing_nets.Mixer, samples.mnist_halved, "unit", 700),
    "root_normed": Plan(
        partial(signal_nets.RootNormed, 24, 6), partial(samples.table, 21, 24, 6), None, 700, shown=400, batch=40
    ),
    "bottlenecks": Plan(residual_nets.Bottlenecks, _coloured(8), "cifar", 600),
    "shuffled": Plan(mixing_nets.Shuffled, _coloured(9), "imagenet", 700, shown=256, batch=32),
    "inception": Plan(joined_nets.Inception, samples.cifar, "signed", 400, by_heart=True),
    "pixels": Plan(joined_nets.Dense, partial(samples.digits_in_pixels, 10), "unit", 400, shown=200, batch=25),
    "twice_normed": Plan(
        partial(signal_nets.TwiceNormed, 24, 5), partial(samples.table, 31, 24, 5), None, 700, shown=300, batch=30
    ),
    "points": Plan(signal_nets.Points, partial(samples.clouds, 1), None, 600),
    "text": Plan(signal_nets.Text, partial(samples.texts, 1), None, 500, shown=400, batch=40),
}
RESNET20 = "resnet20"  # whose weights are third-party
HELD_OUT = ("bottlenecks", "shuffled", "inception", "pixels", "twice_normed", "points", "text")


def _resnet20() -> Subject:
    from tests.nets.resnet20 import load_resnet20

    data = samples.cifar()
    module = load_resnet20(REAL / "akamaster" / "resnet20-12fca82f.th")
    return Subject(RESNET20, "development", module.eval(), "imagenet", data[:500], data[500:])


def names(half: Half | None) -> Sequence[str]:
    """Of all networks, or of one part."""
    return [name for name in (RESNET20, *PLANS) if half in (None, _half(name))]


def _half(name: str) -> Half:
    return "held-out" if name in HELD_OUT else "development"


@cache
def subject(name: str) -> Subject:
    """One network with its data."""
    return _resnet20() if name == RESNET20 else PLANS[name].subject(name, _half(name))
