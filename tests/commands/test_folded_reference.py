"""A folded export beside its checkpoint: the drift of the norms as if they still stood there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from normdiag import DataOptions
from normdiag.comparison.contents import contents_of_tensors
from normdiag.comparison.recovered import recovered_norms
from normdiag.errors import InputError, UsageError
from normdiag.records import NormLayer
from tests.nets.digits import digits, digits_cnn
from tests.nets.exported import onnx_file
from tests.nets.resnet20 import load_resnet20, prepare

IN_ORDER = DataOptions(shuffled=False)


def by_name(report: normdiag.Report) -> dict[str, float]:
    return {each.layer.name: each.drift.rms for each in report.layers if each.drift is not None}


def test_it_is_the_drift_of_the_export_that_kept_its_norms(samples: Path) -> None:
    data = [str(samples / "digits.npz")]
    whole = normdiag.inspect(samples / "digits_cnn.onnx", data=data, data_options=IN_ORDER)
    folded = normdiag.inspect(
        samples / "digits_cnn_folded.onnx", data=data, data_options=IN_ORDER, reference=samples / "digits_cnn.pt"
    )
    assert list(by_name(folded)) == ["norm1", "norm2", "norm3"]
    for each, expected in zip(folded.layers, whole.layers, strict=True):
        assert each.drift is not None and expected.drift is not None
        np.testing.assert_allclose(each.drift.z, expected.drift.z, atol=2e-5)
        np.testing.assert_allclose(each.drift.r, expected.drift.r, rtol=2e-5)
        assert each.drift.se == pytest.approx(expected.drift.se, rel=1e-3)
    assert folded.verdict == "ok" and not folded.folded and "drift" in folded.coverage.measured


def test_a_wrong_input_is_told_from_the_first_layer_that_drifts(samples: Path) -> None:
    report = normdiag.inspect(
        samples / "digits_cnn_folded.onnx",
        data=[str(samples / "digits.npz")],
        data_options=DataOptions(preprocess="raw"),
        reference=samples / "digits_cnn.pt",
    )
    (found,) = [each for each in report.diagnosis if each.severity != "info"]
    assert found.cause == "input_preparation" and found.layers == ("norm1",) and found.remedy.option == "unit"
    assert "later layers" not in found.evidence


def test_statistics_that_are_off_are_to_be_measured_anew_in_the_checkpoint(samples: Path, tmp_path: Path) -> None:
    net = digits_cnn()
    net.norm2.running_mean += torch.linspace(-3, 3, 32)
    net.norm2.running_var *= torch.linspace(0.2, 4, 32)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    x, _ = digits()
    normdiag.fold(net, x[:32], output=tmp_path / "folded.onnx")
    report = normdiag.inspect(tmp_path / "folded.onnx", x, reference=tmp_path / "net.pt")
    found = report.diagnosis[0]
    assert found.layers == ("norm2",) and found.cause not in ("input_preparation", "domain_shift")
    assert found.remedy.command is None and ("checkpoint" in found.remedy.text or found.remedy.action != "recalibrate")


@pytest.mark.exports
@pytest.mark.parametrize("dynamo", [True, False])
def test_resnet20_as_the_exporters_fold_it(dynamo: bool, real: object, tmp_path: Path) -> None:
    checkpoint = real("akamaster/resnet20-12fca82f.th")  # type: ignore[operator]
    net, x = load_resnet20(checkpoint), prepare(real("cifar10/train_1000.npz"))[:128]  # type: ignore[operator]
    as_usual = {"optimize": True} if dynamo else {}
    path = onnx_file(net, torch.zeros(2, 3, 32, 32), tmp_path / "folded.onnx", dynamo=dynamo, **as_usual)
    assert not normdiag.inspect(path).layers
    report = normdiag.inspect(path, x, data_options=IN_ORDER, reference=checkpoint)
    expected = normdiag.inspect(net, x, data_options=IN_ORDER)
    assert len(report.layers) == 19 == len(expected.layers)
    for each, other in zip(by_name(report).items(), by_name(expected).items(), strict=True):
        assert each[0].removeprefix("module.") == other[0]
        assert each[1] == pytest.approx(other[1], rel=2e-3)


class Tables(nn.Module):
    """A Linear, and a transposed convolution, each with a norm; one gamma is 0, and one negative."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn1 = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.up, self.bn2 = nn.ConvTranspose2d(8, 8, 2, bias=False), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.fc(x)))
        return self.bn2(self.up(y[:, :, None, None])).mean((2, 3))


def test_linear_layers_transposed_convolutions_and_channels_that_are_off(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Tables(), np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    with torch.no_grad():
        for _ in range(40):
            net(torch.from_numpy(x))
        for norm in (net.bn1, net.bn2):
            norm.weight.copy_(torch.linspace(-1, 1, 8).where(torch.arange(8) != 3, torch.tensor(0.0)))
            norm.bias.normal_()
    net.eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    normdiag.fold(net, x[:32], output=tmp_path / "folded.onnx")
    shifted = x + 0.5
    report = normdiag.inspect(tmp_path / "folded.onnx", shifted, data_options=IN_ORDER, reference=tmp_path / "net.pt")
    expected = normdiag.inspect(net, shifted, data_options=IN_ORDER)
    kept = np.arange(8) != 3
    for each, other in zip(report.layers, expected.layers, strict=True):
        assert each.layer.name == other.layer.name and each.drift is not None and other.drift is not None
        assert each.layer.eps == pytest.approx(1e-5, abs=2e-6)
        np.testing.assert_allclose(each.drift.z, other.drift.z[kept], atol=1e-4)
        np.testing.assert_allclose(each.drift.r, other.drift.r[kept], rtol=1e-3)


def test_weights_of_another_network_are_refused(samples: Path, tmp_path: Path) -> None:
    images = np.zeros((8, 1, 8, 8), np.float32)
    with pytest.raises(InputError, match=r"digits_cnn_foreign.pt: no linear layer of .* is one of it"):
        foreign = samples / "digits_cnn_group.pt"
        (tmp_path / "digits_cnn_foreign.pt").write_bytes(foreign.read_bytes())
        normdiag.inspect(samples / "digits_cnn_folded.onnx", images, reference=tmp_path / "digits_cnn_foreign.pt")
    with pytest.raises(UsageError, match="weights are a reference for an ONNX export of them"):
        normdiag.inspect(nn.Linear(4, 2), np.zeros((8, 4), np.float32), reference=samples / "digits_cnn.pt")
    with pytest.raises(UsageError, match="is an ONNX model; give a profile of it"):
        normdiag.inspect(samples / "digits_cnn_folded.onnx", images, reference=samples / "digits_cnn.onnx")


def test_equal_convolutions_get_a_norm_each_and_once() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    plain, folded, norms = {}, {}, []
    for index in range(2):
        mean, var, gamma, beta = rng.normal(size=4), rng.random(4) + 0.5, rng.random(4) + 0.5, rng.normal(size=4)
        scale = gamma / np.sqrt(var + 1e-5)
        plain[f"conv{index}.weight"] = weight
        folded[f"c{index}.weight"] = (scale[:, None, None, None] * weight).astype(np.float32)
        folded[f"c{index}.bias"] = (beta - scale * mean).astype(np.float32)
        norms.append(NormLayer(f"bn{index}", "batch_norm", "weights", 4, None, None, gamma, beta, mean, var))
    before = contents_of_tensors(plain, norms)
    found = recovered_norms(contents_of_tensors(folded, ()), before)
    assert [each.layer.name for each in found] == ["bn0", "bn1"]
    assert not recovered_norms(contents_of_tensors(plain, ()), before)
