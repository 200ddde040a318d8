"""Profiles made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from normdiag.records import Point, PointRole, PointSums, Profile, ProfiledData, ProfiledModel, Span

MODEL = ProfiledModel("net.onnx", "onnx", "onnx", "ab" * 32, 1234)
POINTS: tuple[tuple[PointRole, str, str, int], ...] = (
    ("input", "x", "", 3),
    ("norm", "norm1", "layer_norm", 8),
    ("activation", "relu1", "relu", 8),
    ("output", "y", "", 4),
)


def sums(channels: int, samples: int = 64, *, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> PointSums:
    """Of seeded normal values with 5 positions, about a shift near their mean."""
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, scale, (samples, channels, 5))
    shift = np.full(channels, mean)
    moved = x - shift[:, None]
    return PointSums.of(moved.mean(2), (moved**2).mean(2), shift, Span(0, samples))


def profile(samples: int = 64, *, seed: int = 0, groups: int = 16, **changes: object) -> Profile:
    """A small one."""
    points = {
        Point(role, name, kind): sums(channels, samples, seed=seed + index).grouped(groups)
        for index, (role, name, kind, channels) in enumerate(POINTS)
    }
    made = Profile(MODEL, ProfiledData(("train/",), samples, "imagenet", "imagenet"), points, groups, ("a note",))
    return replace(made, **changes)  # type: ignore[arg-type]
