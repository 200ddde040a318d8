"""Networks that `preprocess` is measured on, apart from those that its limits were set on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from benchmarks.diagnosis import image_nets, residual_nets, samples
from benchmarks.diagnosis.networks import subject
from benchmarks.diagnosis.subjects import TEST, Subject, prepared, trained

# By name: the network, the seed of its data, the preparation of its training, steps, whether images are moved.
COLOUR: dict[str, tuple[Callable[[], nn.Module], int, str, int, bool]] = {
    "plain, caffe": (partial(image_nets.Plain, (16, 24, 32, 48), 3), 6, "caffe", 600, False),
    "dense, moved images": (partial(image_nets.PreActivation, 3), 7, "cifar", 600, True),
    "residual, 0..1": (residual_nets.SmallResNet, 8, "unit", 500, False),
    "mobile, BGR": (image_nets.Mobile, 9, "imagenet,order=bgr", 600, False),
}
# The last three see grey images, and are held out from the diagnosis too.
UNSEEN = (*COLOUR, "grouped", "deeper", "activation_first")


def subject_of(name: str) -> Subject:
    """A network of COLOUR or of benchmarks/diagnosis."""
    if name not in COLOUR:
        return subject(name)
    make, seed, recipe, steps, augment = COLOUR[name]
    data = samples.digits_on_photographs(seed)
    held, rest = data[:TEST], data[TEST:]
    x = prepared(rest.stored, recipe)
    module = trained(f"preprocess {name}", make, x, rest.labels, steps, 0, augment)
    return Subject(name, "held-out", module, recipe, held, rest[:512])
