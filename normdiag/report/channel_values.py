"""The channels of one layer as numbers: what the text shows with --channels, and JSON under `channels_detail`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import UsageError
from normdiag.records import Drift, LayerMetrics, NormLayer, Report
from normdiag.report.words import safe

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChannelDetail:
    """Values per channel by name, float64 of shape (C,), and the order of the channels, worst first.

    `order` follows `ranked_by`. Names: stored_mean, stored_std, observed_mean, observed_std (standard deviations are
    without eps), z, r, d, corrected_d, se_d, gamma, beta, channel_rms, rms_over_median.
    """

    layer: str
    ranked_by: str
    order: tuple[int, ...]
    values: dict[str, Floats]


def find_layer(report: Report, name: str) -> LayerMetrics:
    """The layer of that name, as in the file or as printed; UsageError with the nearest names where there is none."""
    for metrics in report.layers:
        if name in (metrics.layer.name, safe(metrics.layer.name)):
            return metrics
    from difflib import get_close_matches

    names = [safe(metrics.layer.name) for metrics in report.layers]
    near = get_close_matches(name, names, n=3, cutoff=0.4) or [n for n in names if name in n][:3] or names[:3]
    hint = f"; nearest: {', '.join(near)}" if near else "; the model has none"
    raise UsageError(f"--channels: there is no normalization layer '{safe(name)}'{hint}")


def channel_detail(metrics: LayerMetrics) -> ChannelDetail | None:
    """All that is known per channel of a layer, worst channel first; None where nothing is."""
    layer, drift, groups = metrics.layer, metrics.drift, metrics.groups
    values = _stored(layer)
    if drift is not None:
        values |= _observed(layer, drift)
        return _ranked(layer.name, "d", drift.d, values)
    if groups is not None:
        rms = np.asarray(groups.channel_rms, np.float64)
        with np.errstate(all="ignore"):
            values |= {"channel_rms": rms, "rms_over_median": rms / np.median(rms)}
        return _ranked(layer.name, "channel_rms", rms, values)
    if "stored_std" in values:
        return _ranked(layer.name, "stored_std", -values["stored_std"], values)
    return _ranked(layer.name, "gamma", np.abs(values["gamma"]), values) if "gamma" in values else None


def _stored(layer: NormLayer) -> dict[str, Floats]:
    facts: dict[str, NDArray[Any] | None] = {
        "stored_mean": layer.running_mean,
        "stored_std": layer.running_var,
        "gamma": layer.gamma,
        "beta": layer.beta,
    }
    flat = {name: np.asarray(value, np.float64).ravel() for name, value in facts.items() if value is not None}
    if "stored_std" in flat:
        with np.errstate(invalid="ignore"):
            flat["stored_std"] = np.sqrt(flat["stored_std"])
    return flat


def _observed(layer: NormLayer, drift: Drift) -> dict[str, Floats]:
    """Observed statistics back from z and r: M = z s and V + eps = r^2 s^2, with s^2 = var + eps."""
    values = {"z": drift.z, "r": drift.r, "d": drift.d, "corrected_d": drift.corrected_d, "se_d": drift.se_d}
    if layer.running_mean is None or layer.running_var is None or layer.eps is None:
        return values
    with np.errstate(all="ignore"):
        s2 = np.asarray(layer.running_var, np.float64) + layer.eps
        mean = np.asarray(layer.running_mean, np.float64) + drift.z * np.sqrt(s2)
        std = np.sqrt(np.maximum(drift.r**2 * s2 - layer.eps, 0.0))
    return {"observed_mean": mean, "observed_std": std} | values


def _ranked(layer: str, key: str, weight: Floats, values: dict[str, Floats]) -> ChannelDetail:
    """Largest weight first, NaN before all; values of another length than the ranking have no channel and go."""
    order = np.argsort(-np.where(np.isnan(weight), np.inf, weight), kind="stable")
    kept = {name: value for name, value in values.items() if value.shape == weight.shape}
    return ChannelDetail(layer, key, tuple(map(int, order)), kept)
