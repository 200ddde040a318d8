"""The report as one JSON document; docs/report-schema.md describes it and docs/report.schema.json checks it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag import __version__
from normdiag.records import (
    Diagnosis,
    Drift,
    Finding,
    Gap,
    GroupMetrics,
    LayerMetrics,
    ModelInfo,
    OnTrainingData,
    Report,
)
from normdiag.records.precision import HalfPrecision
from normdiag.records.reference import PointDrift, ReferenceComparison
from normdiag.report.channel_values import channel_detail, find_layer
from normdiag.report.half_tools import tool_arguments

SCHEMA_VERSION = "2.0"


def to_json(report: Report, *, channels: str | None = None) -> dict[str, Any]:
    """The report as plain dicts, lists, strings and finite numbers.

    A number that is not finite becomes None, with an entry in `notes` that holds its path (a JSON Pointer, RFC 6901)
    and what it was. With `channels`, the name of a layer, `channels_detail` holds its channels, worst first; UsageError
    where there is no such layer.
    """
    roles = {each.layer: each.role for each in report.roles}
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "model": model_dict(report.model),
        "data": None if report.data is None else asdict(report.data),
        "unused_data": report.unused_data,
        "interrupted": report.interrupted,
        "verdict": report.verdict,
        "measured": list(report.coverage.measured),
        "not_measured": [asdict(each) for each in report.coverage.missing],
        "layers": [_layer(metrics, roles.get(metrics.layer.name)) for metrics in report.layers],
        "folded": [asdict(norm) for norm in report.folded],
        "activations": [asdict(activation) for activation in report.activations],
        "gradient": None if report.gradient is None else asdict(report.gradient),
        "gap": None if report.gap is None else _gap(report.gap),
        "recalibration": None if report.recalibration is None else asdict(report.recalibration),
        "diagnosis": [diagnosis_dict(each) for each in report.diagnosis],
        "on_training_data": None if report.on_training_data is None else _on_training_data(report.on_training_data),
        "reference": None if report.reference is None else _reference(report.reference),
        "half": None if report.half is None else half_dict(report.half, report.model),
        "outliers": [asdict(each) for each in report.outliers],
        "findings": [finding_dict(finding) for finding in report.findings],
    }
    if channels is not None:
        document["channels_detail"] = _channels(find_layer(report, channels))
    return finite(document, report.notes)


def dump_json(report: Report, *, channels: str | None = None) -> str:
    """`to_json` as text: valid by RFC 8259, ASCII only, ending in a newline."""
    return dump(to_json(report, channels=channels))


def dump(document: Mapping[str, Any]) -> str:
    """A document of finite numbers as text: valid by RFC 8259, ASCII only, ending in a newline."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def model_dict(model: ModelInfo) -> dict[str, Any]:
    """Where a model came from."""
    found = asdict(model) | {"notes": list(model.notes), "suspicious": list(model.suspicious)}
    return {name: value for name, value in found.items() if name not in ("built", "quantized") or value is not None}


def diagnosis_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """A cause with its remedy, and the findings that follow from it by rule and layers."""
    explains = [{"rule": rule, "layers": list(layers)} for rule, layers in diagnosis.explains]
    return asdict(diagnosis) | {"explains": explains}


def _layer(metrics: LayerMetrics, role: str | None = None) -> dict[str, Any]:
    layer = metrics.layer
    return {
        "name": layer.name,
        "kind": layer.kind,
        "role": role,
        "origin": layer.origin,
        "class_name": layer.class_name,
        "channels": layer.channels,
        "groups": layer.groups,
        "eps": layer.eps,
        "momentum": layer.momentum,
        "num_batches_tracked": layer.num_batches_tracked,
        "training": layer.training,
        "running_var": _range(layer.running_var),
        "gamma": _range(layer.gamma),
        "calls": metrics.calls,
        "drift": None if metrics.drift is None else _drift(metrics.drift, metrics.own, metrics.noise),
        "effective_samples": _effective_samples(metrics),
        "stored_fit": None if metrics.stored_fit is None else asdict(metrics.stored_fit),
        "input": None if metrics.groups is None else _groups(metrics.groups),
        "notes": list(layer.notes),
    }


def _drift(drift: Drift, own: Drift | None, noise: float | None) -> dict[str, Any]:
    return _over_layer(drift) | _over_layer(own, "own_") | _largest(drift) | {"samples": drift.samples, "noise": noise}


def _over_layer(drift: Drift | None, prefix: str = "") -> dict[str, Any]:
    names = ("rms", "se", "corrected_rms", "lower", "upper", "z", "r")
    values: Sequence[Any] = [None] * len(names)
    if drift is not None:
        channels = asdict(drift.over_z), asdict(drift.over_r)
        values = [drift.rms, drift.se, drift.corrected, drift.lower, drift.upper, *channels]
    return {f"{prefix}{name}": value for name, value in zip(names, values, strict=True)}


def _largest(drift: Drift) -> dict[str, Any]:
    return {"max": drift.max, "max_channel": drift.max_channel}


def _on_training_data(seen: OnTrainingData) -> dict[str, Any]:
    return {
        "data": asdict(seen.data),
        "layers": [_layer(metrics) for metrics in seen.layers],
        "gap": None if seen.gap is None else _gap(seen.gap),
        "recalibration": None if seen.recalibration is None else asdict(seen.recalibration),
    }


def _reference(found: ReferenceComparison) -> dict[str, Any]:
    return {
        "path": found.path,
        "model": asdict(found.model),
        "data": asdict(found.data),
        "points": [_point_drift(each) for each in found.points],
        "unmatched": [asdict(point) for point in found.unmatched],
        "missing": [asdict(point) for point in found.missing],
    }


def _point_drift(each: PointDrift) -> dict[str, Any]:
    matched = {"matched": each.reference.name}
    return asdict(each.point) | matched | _over_layer(each.drift) | _largest(each.drift)


def half_dict(half: HalfPrecision, model: ModelInfo) -> dict[str, Any]:
    """The plan with the arguments of each tool, and every norm in the format."""
    plan = None if half.plan is None else asdict(half.plan) | {"sufficient": half.plan.sufficient}
    arguments = tool_arguments(half, model)
    return asdict(half) | {"plan": plan, "arguments": arguments}


def _effective_samples(metrics: LayerMetrics) -> dict[str, Any] | None:
    if metrics.effective_samples is None:
        return None
    return {"value": metrics.effective_samples, "se": metrics.effective_samples_se}


def _groups(groups: GroupMetrics) -> dict[str, Any]:
    sizes = ("group_size", "variance_min", "variance_median", "abs_max", "largest_sum")
    names = (*sizes, "outlier_channel", "outlier_ratio")
    others = ("variance_median_se", "outlier_ratio_se", "half_overflow", "single_element")
    return {name: getattr(groups, name) for name in (*names, *others)}


def _gap(gap: Gap) -> dict[str, Any]:
    known = gap.explained_drift is not None or gap.explained_noise is not None
    shares = {"drift": gap.explained_drift, "noise": gap.explained_noise, "se": gap.explained_se}
    return {
        "output": gap.output,
        "relative_rms": gap.relative_rms,
        "relative_rms_se": gap.relative_rms_se,
        "top1_disagreement": gap.top1_disagreement,
        "top1_disagreement_se": gap.top1_disagreement_se,
        "js_divergence": gap.js_divergence,
        "js_divergence_se": gap.js_divergence_se,
        "batch_size": gap.batch_size,
        "samples": gap.samples,
        "explained": shares if known else None,
        "attribution": None if gap.attribution is None else [asdict(share) for share in gap.attribution],
    }


def finding_dict(finding: Finding) -> dict[str, Any]:
    """A finding with its evidence."""
    names = ("rule", "name", "severity", "confidence", "layer", "layers", "message", "remedy")
    return {name: getattr(finding, name) for name in names} | {"evidence": dict(finding.evidence)}


def _channels(metrics: LayerMetrics) -> dict[str, Any]:
    detail = channel_detail(metrics)
    if detail is None:
        return {"layer": metrics.layer.name, "ranked_by": None, "channels": []}
    rows = [{"channel": i} | {name: float(v[i]) for name, v in detail.values.items()} for i in detail.order]
    return {"layer": detail.layer, "ranked_by": detail.ranked_by, "channels": rows}


def _range(values: NDArray[Any] | None) -> dict[str, Any] | None:
    """Smallest and largest finite value, and how many are not finite."""
    if values is None or values.size == 0:
        return None
    wide = np.asarray(values, np.float64)
    finite = wide[np.isfinite(wide)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return {"min": low, "max": high, "non_finite": int(wide.size - finite.size)}


def finite(document: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """The document with None for every number that is not finite, and `notes` that hold the given ones and those."""
    lost: list[dict[str, str | None]] = []
    clean: dict[str, Any] = _finite(document, "", lost)
    clean["notes"] = [{"path": None, "message": note} for note in notes] + lost
    return clean


def _finite(value: Any, path: str, lost: list[dict[str, str | None]]) -> Any:
    """A copy in plain Python types; every number that is not finite is None and noted in `lost`."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item, f"{path}/{_token(str(key))}", lost) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item, f"{path}/{index}", lost) for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        word = "not a number" if math.isnan(value) else "infinity" if value > 0 else "minus infinity"
        lost.append({"path": path, "message": f"{word}, written as null"})
        return None
    return value


def _token(key: str) -> str:
    """A key as one token of a JSON Pointer."""
    return key.replace("~", "~0").replace("/", "~1")
