"""The scale and shift of each input channel that the first norm layer's stored statistics ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from normdiag.data.candidates import PreparationCandidate
from normdiag.metrics.affine_fit import fit_affine, is_linear, probes, solve_response
from normdiag.observe.protocol import Runner
from normdiag.records import Batch, ChannelSums, NormLayer

Floats = NDArray[np.float64]
# More channels than this are no image, and would take too many runs.
MOST_CHANNELS = 4
# Scales and shifts of values of 0..1 from which to fit; the last are for inverted images.
STARTS = ((1.0, 0.0), (2.0, -1.0), (4.4, -2.0), (255.0, 0.0), (-1.0, 1.0), (-2.0, 1.0), (-4.4, 2.4))
MEANING = "a scale and shift for each channel, fitted to {layer}"


def fitted_candidates(runner: Runner, batches: Sequence[Batch]) -> list[PreparationCandidate]:
    """The preparations with the least drift at the first norm layer, of these samples as they are stored.

    Colours are fitted in both orders: a scale for each channel makes up for most of what a wrong order does. None for
    anything but one input (N, C, ...) of few channels and at least three axes, and where the first norm layer with
    statistics does not answer to it linearly.
    """
    if not batches or len(batches[0].arrays) != 1 or batches[0].arrays[0].ndim < 3:
        return []
    first = batches[0].arrays[0]
    if first.shape[1] > MOST_CHANNELS or first.dtype.kind != "f":
        return []
    found = [_fitted(runner, batches, "")]
    if first.ndim == 4 and first.shape[1] == 3:
        turned = [replace(each, arrays=(each.arrays[0][:, ::-1],)) for each in batches]
        found.append(_fitted(runner, turned, ",order=bgr"))
    return [each for each in found if each is not None]


def _fitted(runner: Runner, batches: Sequence[Batch], order: str) -> PreparationCandidate | None:
    """The one of these samples, whose colours are in this order."""
    channels, unit = batches[0].arrays[0].shape[1], _unit(batches)
    settings = probes(channels)
    check = np.concatenate([np.linspace(0.5, 1.5, channels), np.linspace(-0.3, 0.4, channels), [1.0]])
    seen = [_first_norm(runner, batches, setting, unit) for setting in (*settings, check)]
    if any(each is None for each in seen):
        return None
    layer = seen[0][0]  # type: ignore[index]
    m = np.array([each[1].m / each[1].count for each in seen if each])
    q = np.array([each[1].q / each[1].count for each in seen if each])
    response = solve_response(settings, m[:-1], q[:-1])
    if layer.running_var is None or not is_linear(response, check, m[-1]):
        return None
    starts = [_start(channels, scale, shift) for scale, shift in STARTS]
    setting, _ = fit_affine(response, layer.running_var, layer.eps or 0.0, starts)
    scales, shifts = setting[:channels] / unit, setting[channels:-1]
    if np.any(np.abs(setting[:channels]) < 1e-6):
        return None
    option = f"scale=1,mean={_joined(-shifts / scales)},std={_joined(1 / scales)}{order}"
    meaning = MEANING.format(layer=layer.name) + (", colours in the other order" if order else "")
    return PreparationCandidate(option, meaning, listed=False, numbers_from="statistics")


def _unit(batches: Sequence[Batch]) -> float:
    """The size of the stored values, so that the settings to try are about 1."""
    return max(float(np.abs(batch.arrays[0]).max()) for batch in batches) or 1.0


def _start(channels: int, scale: float, shift: float) -> Floats:
    return np.concatenate([np.full(channels, scale), np.full(channels, shift), [1.0]])


def _first_norm(
    runner: Runner, batches: Sequence[Batch], setting: Floats, unit: float
) -> tuple[NormLayer, ChannelSums] | None:
    """The first norm layer with statistics and its sums, with a_c x_c + b_c as input."""
    total: ChannelSums | None = None
    for batch in batches:
        array = batch.arrays[0]
        shape = (1, array.shape[1], *(1 for _ in array.shape[2:]))
        a, b = (each.reshape(shape) for each in np.split(setting[:-1], 2))
        changed = (array * (a / unit) + b).astype(array.dtype)
        evidence = runner.run(replace(batch, arrays=(changed,))).evidence
        layer = next((each for each in runner.layers() if each.has_statistics), None)
        sums = evidence.layers[layer.name].deployed if layer and layer.name in evidence.layers else None
        if layer is None or sums is None:
            return None
        total = sums if total is None else total + sums
    return None if total is None or layer is None else (layer, total)


def _joined(values: Floats) -> str:
    return ":".join(f"{value:.6g}" for value in values)
