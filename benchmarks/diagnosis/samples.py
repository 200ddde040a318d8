"""Labelled data: digits, digits on photographs, CIFAR-10, waveforms, point clouds, texts and tables, all seeded.

Images are uint8 as a file holds them, (N, H, W) or (N, H, W, 3); waveforms (N, C, T), clouds (N, 3, P) and tables
(N, F) are float32, texts (N, T) int64.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
REAL = Path(__file__).resolve().parents[3] / "shared" / "real"


@dataclass(frozen=True, eq=False)
class Samples:
    """What a file holds, and the class of each sample (N,), or of each of its pixels (N, H, W)."""

    stored: Array
    labels: Array

    @property
    def classes(self) -> Array:
        """The class of each sample (N,): where pixels have classes, the only one besides the background, 0."""
        return self.labels if self.labels.ndim == 1 else self.labels.reshape(len(self.labels), -1).max(1) - 1

    def __getitem__(self, chosen: slice | Array) -> Samples:
        return Samples(self.stored[chosen], self.labels[chosen])

    def __len__(self) -> int:
        return len(self.labels)


def small_digits() -> Samples:
    """The 1797 digits of scikit-learn, 8x8, shuffled."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return Samples(images[order], bunch.target.astype(np.int64)[order])


def mnist() -> Samples:
    """The 10,000 test images, shuffled."""
    folder = REAL / "mnist"
    x, y = (gzip.decompress((folder / f"t10k-{part}-ubyte.gz").read_bytes()) for part in ("images-idx3", "labels-idx1"))
    order = np.random.default_rng(0).permutation(10_000)
    images = np.frombuffer(x, np.uint8, offset=16).reshape(-1, 28, 28)
    return Samples(images[order], np.frombuffer(y, np.uint8, offset=8).astype(np.int64)[order])


def cifar() -> Samples:
    """The 1,000 images that ResNet20 was trained on, among others."""
    with np.load(REAL / "cifar10" / "train_1000.npz") as arrays:
        return Samples(arrays["x"], arrays["y"].astype(np.int64))


def digits_on_photographs(seed: int) -> Samples:
    """Digits that invert a crop of a photograph, 32x32 in colour (as in MNIST-M, Ganin et al. 2016)."""
    rng = np.random.default_rng(seed)
    digits, photographs = mnist(), cifar().stored
    backgrounds = photographs[rng.integers(len(photographs), size=len(digits))].astype(np.float32)
    masks = np.zeros((len(digits), 32, 32, 1), np.float32)
    masks[:, 2:30, 2:30, 0] = digits.stored / 255
    colours = rng.uniform(0.7, 1.0, (len(digits), 1, 1, 3)).astype(np.float32)
    images = np.abs(backgrounds - 255 * masks * colours)
    return Samples(np.rint(images).astype(np.uint8), digits.labels)


def waveforms(seed: int, count: int = 6000, length: int = 2048) -> Samples:
    """Eight timbres and courses of pitch in noise, at varying loudness, about -1..1."""
    rng = np.random.default_rng(seed)
    time = np.arange(length, dtype=np.float32) / 16_000
    labels = rng.integers(8, size=count)
    pitch = rng.uniform(180, 320, (count, 1)) * (1 + 4 * ((labels // 4)[:, None]) * time)
    harmonics = np.array([[1, 0, 0, 0], [1, 0.8, 0.6, 0.4], [1, 0, 0.7, 0], [0.3, 1, 0, 0.9]])[labels % 4]
    wave = sum(
        harmonics[:, [k]] * np.sin(2 * np.pi * (k + 1) * pitch * time + rng.uniform(0, 6, (count, 1))) for k in range(4)
    )
    wave = wave / np.abs(wave).max(1, keepdims=True) * rng.uniform(0.2, 0.8, (count, 1))
    wave = wave + rng.uniform(0.02, 0.25, (count, 1)) * rng.standard_normal((count, length))
    return Samples(wave.astype(np.float32)[:, None], labels)


def sensors(seed: int, count: int = 6000, length: int = 128) -> Samples:
    """Six kinds of motion in six channels with offsets and scales of their own, (N, 6, T)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=count)
    time = np.arange(length) / length
    pace = (2 + 2 * (labels % 3) + rng.uniform(-0.6, 0.6, count))[:, None, None]
    mixing = rng.standard_normal((6, 2, 6))
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    turns = np.concatenate([np.sin(2 * np.pi * pace * time + phase), np.cos(4 * np.pi * pace * time + phase)], 1)
    series = np.einsum("nct,ncd->ndt", turns, mixing[labels]) + (labels // 3)[:, None, None] * time**2
    series = series + rng.uniform(0.2, 0.8, (count, 1, 1)) * rng.standard_normal((count, 6, length))
    offsets, scales = rng.uniform(-1, 4, (6, 1)), np.exp(rng.uniform(-1, 1, (6, 1)))
    return Samples((scales * (series + offsets)).astype(np.float32), labels)


def modulated(seed: int, count: int = 6000, length: int = 256) -> Samples:
    """Six modulations of a radio carrier, in phase and in quadrature (N, 2, T), with an offset and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=count)
    time = np.arange(length)
    symbols = rng.integers(8, size=(count, length // 8)).repeat(8, 1)
    levels = np.array([2, 4, 8, 1, 1, 1])[labels, None]
    message = np.sin(2 * np.pi * rng.uniform(0.01, 0.03, (count, 1)) * time + rng.uniform(0, 6, (count, 1)))
    phase = 2 * np.pi * (symbols % levels) / levels + np.where(labels[:, None] == 3, 3.0 * message, 0.0)
    size = np.where(labels[:, None] == 4, 1 + 0.8 * message, 1.0)
    size = np.where(labels[:, None] == 5, 0.25 + 0.75 * (symbols % 2), size)
    turning = rng.uniform(0, 2 * np.pi, (count, 1)) + rng.uniform(-0.02, 0.02, (count, 1)) * time
    wave = size * np.exp(1j * (phase + turning)) * rng.uniform(0.6, 1.4, (count, 1))
    both = np.stack([wave.real, wave.imag], 1) + np.array([0.15, -0.1])[:, None]
    both = both + rng.uniform(0.05, 0.2, (count, 1, 1)) * rng.standard_normal(both.shape)
    return Samples(both.astype(np.float32), labels)


def digits_as_table() -> Samples:
    """The 1797 digits of scikit-learn as 64 columns of 0..16, some of them constant."""
    data = small_digits()
    return Samples((data.stored.reshape(len(data), -1) * np.float32(16 / 255)).astype(np.float32), data.labels)


def mnist_halved() -> Samples:
    """MNIST in 16x16."""
    data = mnist()
    padded = np.pad(data.stored, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    return Samples(np.rint(padded.reshape(len(data), 16, 2, 16, 2).mean((2, 4))).astype(np.uint8), data.labels)


def table(seed: int, features: int, classes: int, count: int = 8000) -> Samples:
    """Clusters in a mixed and partly skewed space, each column brought to mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    centres = rng.standard_normal((classes, 3, features // 2)) * 1.1
    hidden = centres[labels, rng.integers(3, size=count)] + rng.standard_normal((count, features // 2))
    columns = np.tanh(hidden @ rng.standard_normal((features // 2, features))) + 0.3 * hidden @ rng.standard_normal(
        (features // 2, features)
    )
    columns[:, : features // 3] = np.exp(0.4 * columns[:, : features // 3])
    columns = (columns - columns.mean(0)) / columns.std(0)
    return Samples(columns.astype(np.float32), labels)


def mnist_small() -> Samples:
    """MNIST in 8x8, which is what the small transformers take."""
    data = mnist()
    padded = np.pad(data.stored, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    small = padded.reshape(len(data), 8, 4, 8, 4).mean((2, 4))
    return Samples(np.rint(small).astype(np.uint8), data.labels)


def digits_in_pixels(seed: int) -> Samples:
    """Digits that invert a crop of a photograph, 16x16, and for each pixel 0 or 1 + the digit that covers it."""
    data, masks = digits_on_photographs(seed), mnist_halved().stored
    small = data.stored.reshape(len(data), 16, 2, 16, 2, 3).astype(np.float32).mean((2, 4))
    labels = np.where(masks > 80, 1 + data.labels[:, None, None], 0)
    return Samples(np.rint(small).astype(np.uint8), labels)


def clouds(seed: int, count: int = 5000, points: int = 96) -> Samples:
    """Points of eight surfaces, turned about the vertical axis, stretched and noisy, (N, 3, P)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(8, size=count)
    angle, height = rng.uniform(0, 2 * np.pi, (count, points)), rng.uniform(-1, 1, (count, points))
    radius = np.select(
        [labels[:, None] == kind for kind in range(7)],
        [
            np.sqrt(1 - height**2),  # a sphere
            np.ones_like(height),  # a cylinder
            (1 - height) / 2,  # a cone
            0.35 + 0.65 * height**2,  # an hourglass
            1 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle))) / 1.2,  # a box
            1.2 - height**2,  # a barrel
            0.6 + 0.4 * (height > 0),  # a step
        ],
        np.abs(height),  # two cones
    )
    surface = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)
    turn = rng.uniform(0, 2 * np.pi, count)
    flat = np.stack([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
    surface[:, :2] = np.einsum("nij,njp->nip", flat, surface[:, :2])
    surface = surface * rng.uniform(0.85, 1.15, (count, 3, 1)) + 0.03 * rng.standard_normal(surface.shape)
    return Samples(surface.astype(np.float32), labels)


def texts(seed: int, count: int = 6000, length: int = 40, vocabulary: int = 50) -> Samples:
    """Six languages of words 2..49 (0 pads, 1 is unknown), each of pairs of words that it likes, (N, T)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=count)
    frequency = 1 / np.arange(3, vocabulary + 1)
    likes = frequency * np.exp(0.9 * rng.standard_normal((6, vocabulary - 2, vocabulary - 2)))
    chances = np.cumsum(likes / likes.sum(2, keepdims=True), 2)
    words = np.zeros((count, length), np.int64)
    words[:, 0] = rng.integers(vocabulary - 2, size=count)
    for at in range(1, length):
        chance = chances[labels, words[:, at - 1]]
        words[:, at] = np.minimum((chance < rng.random((count, 1))).sum(1), vocabulary - 3)
    words = np.where(rng.random(words.shape) < 0.02, -1, words) + 2
    ends = rng.integers(length // 2, length + 1, count)
    return Samples(np.where(np.arange(length) < ends[:, None], words, 0), labels)
