"""The healthy models that faults are planted into, with their data: sample models, ResNet20 and an MNIST net."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from sample_models import digits, net

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm2d)


@dataclass(frozen=True, eq=False)
class Images:
    """Images as they are stored, (N, C, H, W) of 0..255 in float32, how they are prepared, and the labels (N,)."""

    pixels: Tensor
    labels: Tensor
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    std: np.ndarray = field(default_factory=lambda: np.ones(1))

    def prepared(self, pixels: Tensor | None = None) -> Tensor:
        """(pixels / 255 - mean) / std."""
        x = (self.pixels if pixels is None else pixels) / 255
        mean, std = (torch.from_numpy(each).float().view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True, eq=False)
class Subject:
    """A healthy model in eval mode, images to look at and others to train on, and foreign statistics if there are."""

    name: str
    module: nn.Module
    images: Images
    training: Images
    foreign: Mapping[str, Tensor] | None = None

    @property
    def x(self) -> Tensor:
        return self.images.prepared()

    @property
    def norms(self) -> tuple[str, ...]:
        """Paths of the normalization layers, in the order of the network."""
        return tuple(name for name, module in self.module.named_modules() if isinstance(module, NORMS))

    @property
    def batch_norms(self) -> tuple[str, ...]:
        """Those of them that keep running statistics."""
        return tuple(
            name for name in self.norms if getattr(self.module.get_submodule(name), "running_var", None) is not None
        )

    def copied(self) -> nn.Module:
        return copy.deepcopy(self.module)


@torch.no_grad()
def accuracy(module: nn.Module, x: Tensor, labels: Tensor, batch: int = 50) -> float:
    """Per cent right, in eval mode."""
    guesses = torch.cat([module(part).argmax(1) for part in x.split(batch)])
    return 100 * float((guesses == labels).float().mean())


@torch.no_grad()
def recalibrated(module: nn.Module, x: Tensor) -> nn.Module:
    """A copy with the statistics of these images: cumulative averages over batches of 100, everything else in eval."""
    module = copy.deepcopy(module).eval()
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for part in x.split(100):
        module(part)
    for norm in norms:
        norm.momentum = 0.1
    return module.eval()


def trained_on(subject: Subject, steps: int, lr: float) -> nn.Module:
    """A copy whose weights went on for some SGD steps with batch statistics, while the running ones stayed."""
    module = subject.copied().train()
    before = {name: each.clone() for name, each in module.named_buffers()}
    for _ in _sgd(module, subject.training, steps, lr):
        pass
    module.load_state_dict(before, strict=False)
    return module.eval()


def averaged_along(subject: Subject, steps: int, lr: float) -> tuple[nn.Module, nn.Module]:
    """The model after some SGD steps, and the average of its weights on the way with the last one's statistics."""
    module = subject.copied().train()
    averaged = AveragedModel(module)
    for _ in _sgd(module, subject.training, steps, lr):
        averaged.update_parameters(module)
    last = dict(module.named_buffers())
    averaged.module.load_state_dict(last, strict=False)
    return module.eval(), averaged.module.eval()


def _sgd(module: nn.Module, images: Images, steps: int, lr: float) -> Iterator[None]:
    """Train on seeded batches of 64; yields after each step."""
    torch.manual_seed(0)
    x, y = images.prepared(), images.labels
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    for _ in range(steps):
        chosen = torch.randperm(len(x))[:64]
        optimizer.zero_grad()
        functional.cross_entropy(module(x[chosen]), y[chosen]).backward()
        optimizer.step()
        yield


def digits_images(file: str) -> Images:
    with np.load(digits.FOLDER / file) as arrays:
        return Images(torch.from_numpy(arrays["x"]).float(), torch.from_numpy(arrays["y"]))


def digits_subject(name: str, arch: str, norm: str, foreign: str | None = None) -> Subject:
    """A sample model by its file and architecture."""
    module = getattr(net, arch)(norm)
    module.load_state_dict(_weights(digits.FOLDER / f"{name}.pt"))
    others = None if foreign is None else _weights(digits.FOLDER / f"{foreign}.pt")
    images, training = digits_images(digits.VALIDATION), digits_images(digits.TRAINING)
    return Subject(name, module.eval(), images, training, others)


def mnist_subject(count: int) -> Subject | None:
    """The net of burn with its twin's statistics; tuned on other test images, since the training ones are not here."""
    from safetensors.torch import load_file

    from tests.nets.mnist import MnistNet

    folder = REAL / "mnist"
    if not folder.is_dir():
        return None
    module = MnistNet()
    module.load_state_dict(load_file(REAL / "burn" / "mnist.safetensors"))
    x, y = (gzip.decompress((folder / f"t10k-{part}-ubyte.gz").read_bytes()) for part in ("images-idx3", "labels-idx1"))
    pixels = torch.from_numpy(np.frombuffer(x, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32))
    labels = torch.from_numpy(np.frombuffer(y, np.uint8, offset=8).astype(np.int64))
    mean, std = np.array([0.1307]), np.array([0.3081])
    parts = [Images(pixels[cut], labels[cut], mean, std) for cut in (slice(0, count), slice(count, count + 1000))]
    return Subject("mnist", module.eval(), *parts, _weights(REAL / "burn" / "mnist.pt"))


def resnet20_subject(count: int) -> Subject | None:
    """ResNet20 for CIFAR-10, which has seen these images; it is right on 99.9 % of them."""
    from tests.nets.resnet20 import load_resnet20

    folder = REAL / "cifar10"
    if not folder.is_dir():
        return None
    with np.load(folder / "train_1000.npz") as arrays:
        pixels = torch.from_numpy(arrays["x"].transpose(0, 3, 1, 2).astype(np.float32))
        labels = torch.from_numpy(arrays["y"])
    parts = [Images(pixels[cut], labels[cut], *IMAGENET) for cut in (slice(0, count), slice(count, None))]
    return Subject("resnet20", load_resnet20(REAL / "akamaster" / "resnet20-12fca82f.th"), *parts)


def subjects(count: int = 200) -> Iterator[Subject]:
    """All of them; those whose files are not beside the repository are left out."""
    yield digits_subject("digits_cnn", "DigitsCNN", "batch", "digits_cnn_foreign")
    yield digits_subject("digits_mlp_batch_5000", "DigitsMLP", "batch", "digits_mlp_batch_0100")
    yield from filter(None, (mnist_subject(2 * count), resnet20_subject(count)))


def without_batch_norm() -> Iterator[Subject]:
    """The sample models that normalize each sample by itself, or nothing."""
    yield digits_subject("digits_cnn_group", "DigitsCNN", "group")
    yield digits_subject("digits_cnn_instance", "DigitsCNN", "instance")
    yield digits_subject("digits_transformer_layer", "DigitsTransformer", "layer")
    yield digits_subject("digits_transformer_rms", "DigitsTransformer", "rms")
    yield digits_subject("digits_mlp_none_5000", "DigitsMLP", "none")


def _weights(path: Path) -> dict[str, Tensor]:
    """A state dict, wherever it was saved (the MNIST one on an Apple GPU)."""
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
