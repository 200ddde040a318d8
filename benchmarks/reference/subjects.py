"""Networks without running statistics, in two halves: the same architectures as for the diagnosis, with other norms,
transformers, and networks whose BatchNorm was folded away in an ONNX export.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from torch import nn

import normdiag
from benchmarks.diagnosis import image_nets, residual_nets, samples, signal_nets
from benchmarks.diagnosis.networks import MNIST, subject
from benchmarks.diagnosis.samples import Samples
from benchmarks.diagnosis.subjects import CACHE, TEST, Half, Subject, prepared, trained
from normdiag import Profile
from sample_models.net import DigitsTransformer

REFERENCE = 1000


@dataclass(frozen=True, eq=False)
class Referenced:
    """A subject with what runs, a module or an ONNX file of it, and the profile of its training data."""

    subject: Subject
    model: nn.Module | Path
    profile: Profile


Norm = Callable[[int], nn.Module]
GROUP: Norm = lambda channels: nn.GroupNorm(4, channels)  # noqa: E731
INSTANCE: Norm = lambda channels: nn.InstanceNorm2d(channels, affine=True)  # noqa: E731
# LayerNorm over channels and positions, as convolutional networks have it.
WHOLE: Norm = lambda channels: nn.GroupNorm(1, channels)  # noqa: E731


def with_norm(make: Callable[[], nn.Module], norm: Norm) -> nn.Module:
    """The network with another norm in place of every BatchNorm."""
    module = make()
    for name, each in list(module.named_modules()):
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, norm(each.num_features))
    return module


def _normed(
    name: str, half: Half, make: Callable[[], nn.Module], norm: Norm, data: Samples, recipe: str | None, steps: int
) -> Referenced:
    return _trained(name, half, partial(with_norm, make, norm), data, recipe, steps)


def _trained(
    name: str, half: Half, make: Callable[[], nn.Module], data: Samples, recipe: str | None, steps: int
) -> Referenced:
    held, rest = data[:TEST], data[TEST:]
    module = trained(name, make, prepared(rest.stored, recipe), rest.labels, steps, 0)
    made = Subject(name, half, module, recipe, held, rest)
    return Referenced(made, module, profile_of(made))


def _folded(name: str, of: str, half: Half) -> Referenced:
    """The ONNX export of a network with its BatchNorm folded, and the profile of the network as it was."""
    found = subject(of)
    path = CACHE / f"{name}.onnx"
    if not path.is_file():
        normdiag.fold(found.module, found.x()[:64].numpy(), output=path)
    made = Subject(name, half, found.module, found.recipe, found.test, found.training)
    return Referenced(made, path, profile_of(made))


def profile_of(made: Subject) -> Profile:
    """Of up to 1000 samples that the subject was trained on."""
    return normdiag.profile(made.module, made.x(made.training.stored[:REFERENCE]).numpy())


MAKERS: dict[tuple[Half, str], Callable[[], Referenced]] = {
    ("development", "table_layer"): lambda: _normed(
        "table_layer", "development", partial(signal_nets.Tabular, 20), nn.LayerNorm, samples.table(1, 20, 5), None, 700
    ),
    ("development", "transformer_layer"): lambda: _trained(
        "transformer_layer", "development", DigitsTransformer, samples.small_digits(), "unit", 600
    ),
    ("development", "plain_instance"): lambda: _normed(
        "plain_instance", "development", image_nets.Plain, INSTANCE, samples.mnist(), MNIST, 500
    ),
    ("development", "resnet_group"): lambda: _normed(
        "resnet_group",
        "development",
        residual_nets.SmallResNet,
        GROUP,
        samples.digits_on_photographs(1),
        "imagenet",
        700,
    ),
    ("development", "plain_folded"): lambda: _folded("plain_folded", "plain", "development"),
    ("held-out", "table_rms"): lambda: _normed(
        "table_rms",
        "held-out",
        partial(signal_nets.Tabular, 32, (96, 64, 48), 8, nn.GELU, 0.1),
        nn.RMSNorm,
        samples.table(7, 32, 8),
        None,
        700,
    ),
    ("held-out", "transformer_rms"): lambda: _trained(
        "transformer_rms", "held-out", partial(DigitsTransformer, norm="rms"), samples.mnist_small(), "signed", 600
    ),
    ("held-out", "audio_group"): lambda: _normed(
        "audio_group", "held-out", signal_nets.Audio, GROUP, samples.waveforms(1), None, 500
    ),
    ("held-out", "mobile_layer"): lambda: _normed(
        "mobile_layer", "held-out", image_nets.Mobile, WHOLE, samples.digits_on_photographs(3), "unit", 700
    ),
    ("held-out", "dense_instance"): lambda: _normed(
        "dense_instance", "held-out", image_nets.PreActivation, INSTANCE, samples.mnist(), "unit", 500
    ),
    ("held-out", "resnet20_folded"): lambda: _folded("resnet20_folded", "resnet20", "held-out"),
}


def names(half: Half) -> Sequence[str]:
    return [name for where, name in MAKERS if where == half]


@cache
def referenced(name: str) -> Referenced:
    (make,) = (make for (_, each), make in MAKERS.items() if each == name)
    return make()


def accuracy_on(made: Referenced, x: np.ndarray, labels: np.ndarray) -> float:
    """Per cent right, of the module: an export does the same."""
    import torch

    from benchmarks.diagnosis.subjects import accuracy

    return accuracy(made.subject.module, torch.from_numpy(x), labels)
