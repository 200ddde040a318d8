"""One suite, both backends: the numbers are right, and PyTorch and ONNX agree."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from normdiag import DataOptions, LoadOptions, Report
from sample_models.net import DigitsCNN
from tests.contract.independent import Independent, measure
from tests.nets.digits import digits, digits_cnn
from tests.nets.exported import onnx_file
from tests.nets.resnet20 import load_resnet20, prepare

BATCH = 50
PAIRS = {
    "digits_cnn": ("DigitsCNN", ()),
    "digits_cnn_group": ("DigitsCNN", ("norm=group",)),
    "digits_cnn_instance": ("DigitsCNN", ("norm=instance",)),
    "digits_transformer_layer": ("DigitsTransformer", ("norm=layer",)),
    "digits_transformer_rms": ("DigitsTransformer", ("norm=rms",)),
}
BACKENDS = ("pytorch", "onnx")


def report_of(backend: str, name: str, samples: Path, **options: object) -> Report:
    data = [str(samples / "digits.npz")]
    data_options = DataOptions(batch_size=BATCH, shuffled=False, **options)  # type: ignore[arg-type]
    if backend == "onnx":
        return normdiag.inspect(samples / f"{name}.onnx", data=data, data_options=data_options)
    factory, arguments = PAIRS[name]
    load = LoadOptions(arch=f"{samples / 'net.py'}:{factory}", arch_args=arguments)
    return normdiag.inspect(samples / f"{name}.pt", data=data, data_options=data_options, load_options=load)


@pytest.fixture(scope="module")
def resnet20_onnx(real: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))  # type: ignore[operator]
    return onnx_file(net, torch.zeros(2, 3, 32, 32), tmp_path_factory.mktemp("resnet20") / "resnet20.onnx")


def check_against(report: Report, expected: Independent, rtol: float) -> None:
    rows = {row.layer.name: row for row in report.layers}
    assert set(rows) == set(expected.deployed)
    for name, row in rows.items():
        for drift, truth in ((row.drift, expected.deployed[name]), (row.own, expected.own[name])):
            assert drift is not None
            # z and r - 1 may be near 0: their error counts in units of the layer's drift.
            scale = float(truth["rms"])
            np.testing.assert_allclose(drift.z, truth["z"], rtol=rtol, atol=rtol * scale)
            np.testing.assert_allclose(drift.r, truth["r"], rtol=rtol)
            np.testing.assert_allclose(drift.d, truth["d"], rtol=rtol, atol=rtol * scale)
            assert drift.rms == pytest.approx(scale, rel=rtol)
    gap = report.gap
    assert gap is not None
    assert gap.relative_rms == pytest.approx(expected.relative_rms, rel=rtol)
    assert gap.top1_disagreement == pytest.approx(expected.disagreement, abs=1.01 / gap.samples)
    assert gap.js_divergence == pytest.approx(expected.divergence, rel=20 * rtol)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sample_cnn_equals_float64_from_whole_activations(backend: str, samples: Path) -> None:
    check_against(report_of(backend, "digits_cnn", samples), measure(digits_cnn(), digits()[0], BATCH), 1e-5)


@pytest.mark.exports
@pytest.mark.parametrize("backend", BACKENDS)
def test_resnet20_equals_float64_from_whole_activations(backend: str, real: object, resnet20_onnx: Path) -> None:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))  # type: ignore[operator]
    x = prepare(real("cifar10/train_1000.npz"))[:300]  # type: ignore[operator]
    model: nn.Module | Path = net if backend == "pytorch" else resnet20_onnx
    report = normdiag.inspect(model, x, data_options=DataOptions(batch_size=BATCH, shuffled=False))
    check_against(report, measure(copy.deepcopy(net), x, BATCH), 1e-5)


def relu_inputs(net: nn.Module, x: np.ndarray) -> list[np.ndarray]:
    seen: list[np.ndarray] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0].numpy().copy()))
        for module in net.modules()
        if isinstance(module, nn.ReLU)
    ]
    with torch.no_grad():
        net.double().eval()(torch.from_numpy(x).double())
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
def test_saturation_and_dead_units_are_exact_counts(backend: str, samples: Path) -> None:
    inputs = relu_inputs(digits_cnn(), digits()[0])
    rows = report_of(backend, "digits_cnn", samples).activations
    assert len(rows) == len(inputs) > 0
    for row, x in zip(rows, inputs, strict=True):
        off = x <= 0
        assert row.saturated_fraction == pytest.approx(off.mean(), rel=1e-5)
        assert row.mean_squared_derivative == pytest.approx(1 - off.mean(), rel=1e-5)
        assert row.units == x.shape[1]
        assert row.dead_units == off.all(axis=(0, *range(2, x.ndim))).sum()


@pytest.mark.parametrize("name", PAIRS)
def test_pytorch_and_onnx_agree(name: str, samples: Path) -> None:
    torch_report, onnx_report = (report_of(backend, name, samples) for backend in BACKENDS)
    assert len(torch_report.layers) == len(onnx_report.layers)
    for a, b in zip(torch_report.layers, onnx_report.layers, strict=True):
        assert (a.layer.kind, a.layer.channels, a.layer.eps) == (
            b.layer.kind,
            b.layer.channels,
            pytest.approx(b.layer.eps),
        )
        assert a.calls == b.calls
        assert (a.drift is None) == (b.drift is None)
        for x, y in ((a.drift, b.drift), (a.own, b.own)):
            if x is not None and y is not None:
                assert x.rms == pytest.approx(y.rms, rel=1e-4)
                assert x.se == pytest.approx(y.se, rel=1e-3)
        assert (a.groups is None) == (b.groups is None)
        if a.groups is not None and b.groups is not None:
            assert a.groups.group_size == b.groups.group_size
            assert a.groups.variance_min == pytest.approx(b.groups.variance_min, rel=1e-4)
            assert a.groups.variance_median == pytest.approx(b.groups.variance_median, rel=0.045)
            assert a.groups.abs_max == pytest.approx(b.groups.abs_max, rel=1e-4)
            np.testing.assert_allclose(a.groups.channel_rms, b.groups.channel_rms, rtol=1e-4)
    assert len(torch_report.activations) == len(onnx_report.activations)
    for m, n in zip(torch_report.activations, onnx_report.activations, strict=True):
        assert (m.kind, m.units, m.dead_units) == (n.kind, n.units, n.dead_units)
        saturated_se = math.hypot(m.saturated_se, n.saturated_se)
        assert m.saturated_fraction == pytest.approx(n.saturated_fraction, rel=1e-4, abs=1e-6 + 4 * saturated_se)
        slope_se = math.hypot(m.mean_squared_derivative_se, n.mean_squared_derivative_se)
        slope = pytest.approx(n.mean_squared_derivative, rel=1e-4, abs=1e-12 + 4 * slope_se)
        assert m.mean_squared_derivative == slope
    assert (torch_report.gap is None) == (onnx_report.gap is None)
    if torch_report.gap is not None and onnx_report.gap is not None:
        assert torch_report.gap.relative_rms == pytest.approx(onnx_report.gap.relative_rms, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_split_into_batches_gives_the_same_drift_as_deployed(backend: str, samples: Path) -> None:
    whole = report_of(backend, "digits_cnn", samples)
    other_options = DataOptions(batch_size=7, shuffled=False)
    data = [str(samples / "digits.npz")]
    load = LoadOptions(arch=f"{samples / 'net.py'}:DigitsCNN") if backend == "pytorch" else None
    suffix = "pt" if backend == "pytorch" else "onnx"
    other = normdiag.inspect(samples / f"digits_cnn.{suffix}", data=data, data_options=other_options, load_options=load)
    for a, b in zip(whole.layers, other.layers, strict=True):
        assert a.drift is not None
        assert b.drift is not None
        assert a.drift.rms == pytest.approx(b.drift.rms, rel=1e-5)
        assert a.drift.se == pytest.approx(b.drift.se, rel=1e-4)


@pytest.mark.exports
@pytest.mark.parametrize("backend", BACKENDS)
def test_attribution_finds_the_layer_whose_statistics_are_wrong(backend: str, samples: Path, tmp_path: Path) -> None:
    weights = torch.load(samples / "digits_cnn.pt", weights_only=True)
    weights["norm2.running_mean"] += 2.0 * weights["norm2.running_var"].sqrt()
    net = DigitsCNN()
    net.load_state_dict(weights)
    model: nn.Module | Path = net.eval()
    if backend == "onnx":
        model = onnx_file(net, torch.zeros(2, 1, 8, 8), tmp_path / "stale.onnx")
    report = normdiag.inspect(model, digits()[0], attribute=True)
    (finding,) = [each for each in report.findings if each.rule == "ND301"]
    assert finding.layer == "norm2"
    assert report.gap is not None
    assert report.gap.attribution is not None
    assert report.gap.attribution[0].layer == "norm2"
    assert report.gap.attribution[0].removed > 0.5 > report.gap.attribution[1].removed
    assert report.gap.explained_drift is not None
    assert report.gap.explained_drift > 0.9
