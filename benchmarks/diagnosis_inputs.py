"""Inputs prepared otherwise than in training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.diagnosis_case import Case
from benchmarks.diagnosis_subjects import Images, Subject

CIFAR = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1), torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)


def input_faults(subject: Subject) -> Iterator[Case]:
    """One case for each wrong preparation; the layer that may be named is the first norm."""
    fault = "wrong preprocessing" if subject.batch_norms else "wrong preprocessing, no running statistics"
    for what, x in wrong(subject.images):
        yield Case(subject, fault, what, "input", frozenset(subject.norms[:1]), x=x)


def wrong(images: Images) -> Iterator[tuple[str, Tensor]]:
    raw, right = images.pixels, images.prepared()
    normalized = bool((images.mean != 0).any())
    yield "0..255", raw
    yield "-1..1", raw / 127.5 - 1
    if normalized:
        yield "0..1", raw / 255
        yield "normalized twice", images.prepared(right * 255)
        yield "normalized, not divided by 255", images.prepared(raw * 255)
        yield "not divided by the deviation", raw / 255 - torch.from_numpy(images.mean).float().view(1, -1, 1, 1)
    else:
        yield "0..16", raw * (16 / 255)
        yield "normalized to mean 0, deviation 1", (right - right.mean()) / right.std()
        yield "divided by 255 twice", right / 255
    yield "inverted", images.prepared(255 - raw)
    yield "upside down", right.flip(2)
    yield "mirrored", right.flip(3)
    yield "blurred by resizing", _resized(images, 2)
    yield "rows and channels misread", _misread(images)
    if raw.shape[1] == 3:
        yield "BGR", images.prepared(raw.flip(1))
        yield "grey", images.prepared(raw.mean(1, keepdim=True).expand_as(raw))
        yield "another mean and deviation", (raw / 255 - CIFAR[0]) / CIFAR[1]


def _resized(images: Images, factor: int) -> Tensor:
    """Shrunk and enlarged again."""
    small = functional.avg_pool2d(images.pixels, factor)
    size = images.pixels.shape[2:]
    return images.prepared(functional.interpolate(small, size=size, mode="bilinear", align_corners=False))


def _misread(images: Images) -> Tensor:
    """(N, H, W, C) taken for (N, C, H, W); with one channel, rows and columns exchanged."""
    pixels = images.pixels
    if pixels.shape[1] == 1:
        return images.prepared(pixels.transpose(2, 3))
    return images.prepared(pixels.permute(0, 2, 3, 1).reshape(pixels.shape))
