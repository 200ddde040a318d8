"""Networks that `preprocess` is measured on, apart from those of benchmarks/diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from benchmarks.diagnosis import image_nets, residual_nets, samples, unlike_nets
from benchmarks.diagnosis.networks import subject
from benchmarks.diagnosis.samples import Samples
from benchmarks.diagnosis.subjects import TEST, Subject, prepared, trained

Net = tuple[Callable[[], nn.Module], Callable[[], Samples], str, int, bool]


def grey_photographs(seed: int) -> Samples:
    """Digits on photographs, without colours, (N, 32, 32)."""
    data = samples.digits_on_photographs(seed)
    return Samples(np.rint(data.stored.mean(3)).astype(np.uint8), data.labels)


# By name: the network, its data, the preparation of its training, steps, whether images are moved and brightened. Two
# are prepared as no preset says: -0.5..0.5, and the mean and deviation of its own data.
COLOUR: dict[str, Net] = {
    "plain, caffe": (
        partial(image_nets.Plain, (16, 24, 32, 48), 3),
        partial(samples.digits_on_photographs, 6),
        "caffe",
        600,
        False,
    ),
    "dense, moved images": (
        partial(image_nets.PreActivation, 3),
        partial(samples.digits_on_photographs, 7),
        "cifar",
        600,
        True,
    ),
    "residual, 0..1": (residual_nets.SmallResNet, partial(samples.digits_on_photographs, 8), "unit", 500, False),
    "mobile, BGR": (image_nets.Mobile, partial(samples.digits_on_photographs, 9), "imagenet,order=bgr", 600, False),
    "wide, -0.5..0.5": (
        unlike_nets.Wide,
        partial(samples.digits_on_photographs, 10),
        "scale=1/255,mean=0.5,std=1",
        400,
        False,
    ),
    "gated, per-image": (unlike_nets.Excited, partial(samples.digits_on_photographs, 11), "per-image", 500, False),
}
GREY: dict[str, Net] = {
    "dense, per-image": (image_nets.PreActivation, partial(grey_photographs, 12), "per-image", 600, False),
    "hourglass, own": (unlike_nets.Hourglass, samples.mnist_halved, "scale=1/255,mean=0.101,std=0.254", 400, False),
    "plain, -1..1": (partial(image_nets.Plain, (16, 24, 32)), partial(grey_photographs, 13), "signed", 600, False),
}
UNSEEN = (*COLOUR, *GREY, "deeper", "activation_first")


def subject_of(name: str) -> Subject:
    """A network of this module or of benchmarks/diagnosis."""
    known = COLOUR | GREY
    if name not in known:
        return subject(name)
    make, data_of, recipe, steps, augment = known[name]
    data = data_of()
    held, rest = data[:TEST], data[TEST:]
    x = prepared(rest.stored, recipe)
    module = trained(f"preprocess {name}", make, x, rest.labels, steps, 0, augment)
    return Subject(name, "held-out", module, recipe, held, rest[:512])
