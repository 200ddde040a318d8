"""The networks in two parts: limits are set on development, figures published for what is held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from torch import nn

from benchmarks.diagnosis import image_nets, residual_nets, samples, signal_nets, unlike_nets
from benchmarks.diagnosis.samples import REAL, Samples
from benchmarks.diagnosis.subjects import TEST, Half, Subject, prepared, trained
from sample_models.net import DigitsCNN


def _subject(
    name: str,
    half: Half,
    make: Callable[[], nn.Module],
    data: Samples,
    recipe: str | None,
    steps: int,
    *,
    augment: bool = False,
    shown: int = TEST,
    batch: int = 50,
) -> Subject:
    held, rest = data[:TEST], data[TEST:]
    x = prepared(rest.stored, recipe)
    module, foreign = (trained(name, make, x, rest.labels, steps, seed, augment) for seed in (0, 1))
    return Subject(name, half, module, recipe, held, rest[:512], foreign, shown, batch)


def _resnet20() -> Subject:
    from tests.nets.resnet20 import load_resnet20

    data = samples.cifar()
    module = load_resnet20(REAL / "akamaster" / "resnet20-12fca82f.th")
    return Subject("resnet20", "development", module.eval(), "imagenet", data[:500], data[500:])


def _by_heart(name: str, make: Callable[[], nn.Module]) -> Subject:
    """A network that is run on half of the 1,000 photographs that it was trained on, moved and brightened."""
    data = samples.cifar()
    module, foreign = (
        trained(name, make, prepared(data.stored, "cifar"), data.labels, 800, seed, augment=True) for seed in (0, 1)
    )
    return Subject(name, "held-out", module, "cifar", data[:500], data[500:], foreign)


MNIST = "scale=1/255,mean=0.1307,std=0.3081"
MAKERS: dict[tuple[Half, str], Callable[[], Subject]] = {
    ("development", "resnet"): lambda: _subject(
        "resnet", "development", residual_nets.SmallResNet, samples.digits_on_photographs(1), "imagenet", 700
    ),
    ("development", "mobile_relu6"): lambda: _subject(
        "mobile_relu6",
        "development",
        partial(image_nets.Mobile, False),
        samples.digits_on_photographs(2),
        "signed",
        700,
    ),
    ("development", "plain"): lambda: _subject(
        "plain", "development", image_nets.Plain, samples.mnist(), MNIST, 500, augment=True
    ),
    ("development", "digits"): lambda: _subject(
        "digits", "development", DigitsCNN, samples.small_digits(), "unit", 400
    ),
    ("development", "table"): lambda: _subject(
        "table", "development", partial(signal_nets.Tabular, 20), samples.table(1, 20, 5), None, 700
    ),
    ("development", "two_classes"): lambda: _subject(
        "two_classes",
        "development",
        partial(signal_nets.Tabular, 8, (24, 24), 2, nn.Tanh),
        samples.table(11, 8, 2),
        None,
        400,
        shown=100,
        batch=10,
    ),
    ("development", "mixed"): lambda: _subject(
        "mixed", "development", image_nets.Mixed, samples.small_digits(), "signed", 400, shown=200, batch=25
    ),
    ("development", "deep"): lambda: _subject(
        "deep", "development", residual_nets.Deep, samples.small_digits(), MNIST, 400, shown=128, batch=16
    ),
    ("development", "short"): lambda: _subject(
        "short", "development", signal_nets.Short, samples.waveforms(5, 3000, 512), None, 400, shown=64, batch=8
    ),
    ("development", "mobile_silu"): lambda: _subject(
        "mobile_silu", "development", image_nets.Mobile, samples.digits_on_photographs(3), "unit", 700
    ),
    ("development", "audio"): lambda: _subject(
        "audio", "development", signal_nets.Audio, samples.waveforms(1), None, 500
    ),
    ("development", "dropout"): lambda: _subject(
        "dropout", "development", partial(image_nets.Plain, (24, 24, 48), 1, 0.2), samples.mnist(), "signed", 400
    ),
    ("development", "table_tanh"): lambda: _subject(
        "table_tanh",
        "development",
        partial(signal_nets.Tabular, 32, (96, 64, 48), 8, nn.GELU, 0.1),
        samples.table(7, 32, 8),
        None,
        700,
    ),
    ("development", "dense"): lambda: _subject(
        "dense", "development", image_nets.PreActivation, samples.mnist(), "unit", 500
    ),
    ("development", "resnet20"): _resnet20,
    ("development", "deeper"): lambda: _subject(
        "deeper", "development", image_nets.Deeper, samples.mnist_halved(), "unit", 500
    ),
    ("development", "pre_activation"): lambda: _subject(
        "pre_activation",
        "development",
        residual_nets.PreActivationResNet,
        samples.digits_on_photographs(4),
        "signed",
        700,
    ),
    ("development", "activation_first"): lambda: _subject(
        "activation_first", "development", image_nets.ActivationFirst, samples.mnist_halved(), MNIST, 600, augment=True
    ),
    ("development", "separable"): lambda: _subject(
        "separable", "development", image_nets.Separable, samples.digits_on_photographs(5), "imagenet", 900
    ),
    ("development", "grouped"): lambda: _subject(
        "grouped", "development", residual_nets.Grouped, samples.mnist_halved(), "signed", 500, shown=256, batch=32
    ),
    ("development", "tiny"): lambda: _subject(
        "tiny", "development", image_nets.Tiny, samples.small_digits(), "unit", 500
    ),
    ("development", "causal"): lambda: _subject(
        "causal", "development", signal_nets.Causal, samples.sensors(1), None, 500, shown=300, batch=30
    ),
    ("development", "recurrent"): lambda: _subject(
        "recurrent", "development", signal_nets.Recurrent, samples.sensors(2), None, 500
    ),
    ("development", "input_normed"): lambda: _subject(
        "input_normed",
        "development",
        partial(signal_nets.InputNormed, 64, 10),
        samples.digits_as_table(),
        None,
        500,
        shown=400,
        batch=40,
    ),
    ("held-out", "excited"): lambda: _by_heart("excited", unlike_nets.Excited),
    ("held-out", "wide"): lambda: _subject(
        "wide", "held-out", unlike_nets.Wide, samples.digits_on_photographs(6), "imagenet", 400, shown=256, batch=32
    ),
    ("held-out", "conv_mixer"): lambda: _subject(
        "conv_mixer", "held-out", unlike_nets.ConvMixer, samples.digits_on_photographs(7), "signed", 700
    ),
    ("held-out", "hourglass"): lambda: _subject(
        "hourglass", "held-out", unlike_nets.Hourglass, samples.mnist_halved(), MNIST, 400, shown=300, batch=30
    ),
    ("held-out", "radio"): lambda: _subject(
        "radio", "held-out", unlike_nets.Radio, samples.modulated(1), None, 600, shown=256, batch=32
    ),
    ("held-out", "mixer"): lambda: _subject(
        "mixer", "held-out", unlike_nets.Mixer, samples.mnist_halved(), "unit", 700
    ),
    ("held-out", "root_normed"): lambda: _subject(
        "root_normed",
        "held-out",
        partial(unlike_nets.RootNormed, 24, 6),
        samples.table(21, 24, 6),
        None,
        700,
        shown=400,
        batch=40,
    ),
}


def names(half: Half | None) -> Sequence[str]:
    return [name for where, name in MAKERS if half in (None, where)]


@cache
def subject(name: str) -> Subject:
    (make,) = (make for (_, each), make in MAKERS.items() if each == name)
    return make()
