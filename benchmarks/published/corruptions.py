"""Drift predicts the error under corruption (Schneider et al. 2020, figure on distance against error).

ResNet20 on 300 images with seven corruptions at five severities each, made by numpy and Pillow after Hendrycks and
Dietterich (2019). Beside the error stands the mean drift of the layers as deployed, for which no labels are needed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import normdiag
from benchmarks.published.data import Pixels, accuracy, fed, images, network
from benchmarks.published.plots import COLOURS, Plot, Series

SAMPLES = 300


@dataclass(frozen=True)
class Corrupted:
    """What a corruption does: mean drift of the layers, as deployed and local, error in per cent, and that after
    recalibration on the same images.
    """

    kind: str
    severity: int
    drift: float
    local: float
    error: float
    adapted: float


def _clipped(x: NDArray[np.float64]) -> Pixels:
    return np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)


def noise(x: Pixels, severity: int) -> Pixels:
    """Gaussian, in each value."""
    spread = (10, 15, 20, 25, 30)[severity]
    return _clipped(x + np.random.default_rng(severity).normal(0, spread, x.shape))


def contrast(x: Pixels, severity: int) -> Pixels:
    """Towards the mean of each image."""
    mean = x.mean((1, 2), keepdims=True)
    return _clipped((x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity] + mean)


def brightness(x: Pixels, severity: int) -> Pixels:
    """Added to all values."""
    return _clipped(x + 255.0 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity])


def darkness(x: Pixels, severity: int) -> Pixels:
    """All values multiplied."""
    return _clipped(x * (0.7, 0.5, 0.35, 0.25, 0.15)[severity])


def blur(x: Pixels, severity: int) -> Pixels:
    """Gaussian."""
    radius = ImageFilter.GaussianBlur((0.4, 0.6, 0.8, 1.0, 1.4)[severity])
    return _each(x, lambda image: image.filter(radius))


def jpeg(x: Pixels, severity: int) -> Pixels:
    """Compressed, as 4:2:0."""

    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=(60, 40, 25, 15, 8)[severity])
        return Image.open(buffer)

    return _each(x, compressed)


def pixelate(x: Pixels, severity: int) -> Pixels:
    """Made smaller by averaging, and large again in blocks."""
    size = (28, 24, 20, 16, 12)[severity]
    box, near = Image.Resampling.BOX, Image.Resampling.NEAREST
    return _each(x, lambda image: image.resize((size, size), box).resize(image.size, near))


def _each(x: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    return np.stack([np.asarray(change(Image.fromarray(each)), np.uint8) for each in x])


KINDS = {each.__name__: each for each in (noise, blur, contrast, brightness, darkness, jpeg, pixelate)}


def results() -> list[Corrupted]:
    """Clean images first, then every corruption."""
    pixels, labels = (each[:SAMPLES] for each in images())
    found = [_measured("clean", 0, pixels, labels)]
    for kind, corrupt in KINDS.items():
        found += [_measured(kind, severity + 1, corrupt(pixels, severity), labels) for severity in range(5)]
    return found


def _measured(kind: str, severity: int, pixels: Pixels, labels: NDArray[np.int64]) -> Corrupted:
    net, x = network(), fed(pixels)
    report = normdiag.inspect(net, x, rules=())
    drifts = [each.drift.corrected for each in report.layers if each.drift is not None]
    local = [each.own.corrected for each in report.layers if each.own is not None]
    error = 100.0 - accuracy(net, x, labels)
    normdiag.recalibrate(net, x, in_place=True, options=normdiag.RecalibrateOptions(accept_worse=True))
    return Corrupted(
        kind, severity, float(np.mean(drifts)), float(np.mean(local)), error, 100.0 - accuracy(net, x, labels)
    )


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, with the mean rank for ties."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    x = np.asarray(values)
    return np.array([(x < each).sum() + 0.5 * (x == each).sum() for each in x], np.float64)


def table(found: Sequence[Corrupted]) -> Iterator[str]:
    """A row for each corruption, its five severities beside each other."""
    yield "| corruption | drift | error, % | error after recalibration, % | rank correlation |"
    yield "|---|---|---|---|---:|"
    for kind in dict.fromkeys(each.kind for each in found):
        rows = [each for each in found if each.kind == kind]
        correlation = f"{rank_correlation(*_pair(rows)):.2f}" if len(rows) > 1 else ""
        columns = zip(*((f"{r.drift:.2f}", f"{r.error:.1f}", f"{r.adapted:.1f}") for r in rows), strict=True)
        yield f"| {kind} | {' | '.join(', '.join(column) for column in columns)} | {correlation} |"
    local = [each.local for each in found], [each.error for each in found]
    yield ""
    yield (
        f"Rank correlation of error and drift over all {len(found)}: {rank_correlation(*_pair(found)):.2f}; "
        f"of error and local drift: {rank_correlation(*local):.2f}."
    )


def _pair(rows: Sequence[Corrupted]) -> tuple[list[float], list[float]]:
    return [each.drift for each in rows], [each.error for each in rows]


def plot(found: Sequence[Corrupted]) -> str:
    """Error against drift."""
    colours = dict(zip(KINDS, COLOURS, strict=True))
    series = [
        Series(kind, colours[kind], tuple((each.drift, each.error) for each in found if each.kind == kind), line=True)
        for kind in KINDS
    ]
    return Plot(
        "Error of ResNet20 against the drift of its layers, by corruption",
        "drift as deployed, mean over the layers",
        "error, %",
        series,
    ).svg()
