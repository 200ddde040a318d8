"""The new statistics are those of the population, to 1e-6, whatever the model and the loader look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import normdiag
from normdiag import RecalibrateOptions
from tests.nets.exported import onnx_file
from tests.nets.norms_by_hand import FrozenBatchNorm2d
from tests.recalibration.references import largest_error, population

ALL = RecalibrateOptions(holdout=0.0)


class RunsTwice(nn.Module):
    """Its second convolution and norm run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.drop, self.head, self.norm3 = nn.Dropout(0.5), nn.Linear(8, 5), nn.BatchNorm1d(5)

    def forward(self, image: Tensor, scale: Tensor | None = None) -> Tensor:
        x = image if scale is None else image * scale[:, None, None, None]
        x = torch.relu(self.norm1(self.conv1(x)))
        for _ in range(2):
            x = torch.relu(self.norm2(self.conv2(x)))
        return self.norm3(self.head(self.drop(x[..., 1:3, 1:3].mean((2, 3)))))


def net() -> RunsTwice:
    torch.manual_seed(0)
    return RunsTwice().eval()


def images(*sizes: tuple[int, int]) -> list[Tensor]:
    torch.manual_seed(1)
    return [3.0 * torch.randn(n, 3, side, side) + 5.0 for n, side in sizes]


def errors(module: nn.Module, batches: Any, expected: dict[str, Any]) -> dict[str, float]:
    found = normdiag.recalibrate(module, batches, options=ALL).statistics
    assert found.keys() == expected.keys()
    return {name: largest_error((found[name].mean, found[name].var), expected[name]) for name in found}


@pytest.mark.parametrize(
    "sizes",
    [[(32, 12), (32, 12)], [(32, 12), (17, 12)], [(24, 12), (32, 8), (20, 16)]],
    ids=["even", "short", "ragged"],
)
def test_reused_layers_and_batches_of_all_sizes(sizes: list[tuple[int, int]]) -> None:
    batches = images(*sizes)
    assert max(errors(net(), batches, population(net(), batches)).values()) < 1e-6


def test_a_last_batch_of_one_sample_goes_with_the_one_before() -> None:
    batches = images((32, 12), (1, 12))
    assert max(errors(net(), batches, population(net(), [torch.cat(batches)])).values()) < 1e-6


def test_dict_inputs() -> None:
    torch.manual_seed(2)
    batches = [{"image": x, "scale": torch.rand(len(x))} for x in images((32, 12), (32, 12))]
    expected = population(net(), batches, lambda module, b: module(*(value.double() for value in b.values())))
    assert max(errors(net(), batches, expected).values()) < 1e-6


def test_a_model_in_train_mode_with_dropout() -> None:
    batches = images((32, 12))
    training = net().train()
    assert max(errors(training, batches, population(net(), batches)).values()) < 1e-6
    assert training.training and training.norm1.num_batches_tracked == 0


def test_frozen_layers_and_channels_last() -> None:
    module = net()
    module.norm1.requires_grad_(False)
    module.norm2 = nn.BatchNorm2d(8, affine=False).eval()
    batches = [x.to(memory_format=torch.channels_last) for x in images((32, 12), (32, 12))]
    expected = population(module, batches)
    assert max(errors(module.to(memory_format=torch.channels_last), batches, expected).values()) < 1e-6


def test_a_large_mean_and_a_poisoned_layer() -> None:
    module = net()
    module.conv1.bias.data += 1000.0
    module.norm1.running_mean.fill_(torch.nan)
    module.norm2.running_var.fill_(torch.inf)
    batches = images((32, 12), (32, 12))
    expected = population(net_with_shift(), batches)
    assert max(errors(module, batches, expected).values()) < 3e-5  # 1000 is 200 standard deviations in float32


def net_with_shift() -> RunsTwice:
    module = net()
    module.conv1.bias.data += 1000.0
    return module


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3), (torch.float64, 1e-9)])
def test_other_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    """The first layer sees what the reference sees, but for its convolution's rounding; later ones what was rounded."""
    module = net().to(dtype)
    batches = [x.to(dtype) for x in images((32, 12), (32, 12))]
    found = errors(module, batches, population(module, batches))
    assert max(found.values()) < tolerance
    result = normdiag.recalibrate(module, batches, options=ALL, in_place=True)
    assert module.norm1.running_var.dtype == dtype
    stored = module.norm1.running_var.double().numpy()
    np.testing.assert_allclose(stored, result.statistics["norm1"].var, rtol=torch.finfo(dtype).eps)


def test_float16_sums_are_those_of_the_float16_activations() -> None:
    module = net().half()
    batches = [x.half() for x in images((32, 12), (32, 12))]
    with torch.no_grad():
        seen = torch.cat([module.conv1(x) for x in batches]).double().movedim(1, 0).flatten(1)
    found = normdiag.recalibrate(module, batches, options=ALL).statistics["norm1"]
    assert largest_error((found.mean, found.var), (seen.mean(1).numpy(), seen.var(1).numpy())) < 1e-6


@pytest.mark.exports
@pytest.mark.parametrize("sizes", [[(32, 12), (32, 12)], [(32, 12), (17, 12)]])
def test_onnx_agrees_with_pytorch(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    batches = images(*sizes)
    onnx_file(net(), batches[0], tmp_path / "net.onnx")
    ours = normdiag.recalibrate(net(), batches, options=ALL).statistics
    theirs = normdiag.recalibrate(tmp_path / "net.onnx", [x.numpy() for x in batches], options=ALL).statistics
    of_onnx = list(theirs.values())
    for index, name in ((0, "norm1"), (1, "norm2"), (2, "norm2"), (3, "norm3")):
        expected = ours[name].mean, ours[name].var
        assert largest_error((of_onnx[index].mean, of_onnx[index].var), expected) < 1e-5


def test_sequential_statistics_are_those_behind_repaired_layers() -> None:
    """Run as deployed, the repaired model shows each layer exactly the statistics that it stores."""
    batches = images((32, 12), (32, 12))
    module = net()
    options = RecalibrateOptions(holdout=0.0, method="sequential")
    result = normdiag.recalibrate(module, batches, options=options, in_place=True)
    assert 3 <= result.report.passes <= 6
    seen: dict[str, list[Tensor]] = {}
    for name in ("norm1", "norm2", "norm3"):
        module.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: (
                seen.setdefault(name, []).append(given[0].detach().double().flatten(2))
                if given[0].dim() > 2
                else seen.setdefault(name, []).append(given[0].detach().double()[:, :, None])
            )
        )
    with torch.no_grad():
        for x in batches:
            module(x)
    for name, found in seen.items():
        values = torch.cat(found).movedim(1, 0).flatten(1)
        stored = module.get_submodule(name)
        pair = stored.running_mean.double().numpy(), stored.running_var.double().numpy()
        error = next(each.error for each in result.report.layers if each.layer == name)
        assert largest_error(pair, (values.mean(1).numpy(), values.var(1).numpy())) < max(error, 1e-5)


def test_an_instance_norm_gets_what_its_training_would_average() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, track_running_stats=True)).eval()
    (x,) = images((32, 12))
    found = normdiag.recalibrate(module, [x], options=ALL).statistics["1"]
    trained = nn.InstanceNorm2d(6, track_running_stats=True, momentum=1.0).double().train()
    with torch.no_grad():
        trained(module[0](x).double())
    expected = trained.running_mean.numpy(), trained.running_var.numpy()
    assert largest_error((found.mean, found.var), expected) < 1e-6


def test_frozen_batch_norm_of_other_libraries() -> None:
    module, plain = net(), net()
    module.norm1, module.norm2 = FrozenBatchNorm2d(8), FrozenBatchNorm2d(8)
    for norm, same in ((plain.norm1, module.norm1), (plain.norm2, module.norm2)):
        norm.load_state_dict(same.state_dict(), strict=False)
    batches = images((32, 12), (32, 12))
    found = normdiag.recalibrate(module, batches, options=ALL).statistics
    expected = population(plain, batches)
    assert max(largest_error((found[name].mean, found[name].var), expected[name]) for name in expected) < 1e-6


def test_a_live_batch_norm_without_statistics_is_given_some() -> None:
    module = net()
    module.norm2 = nn.BatchNorm2d(8, track_running_stats=False).eval()
    batches = images((32, 12), (32, 12))
    expected = population(net(), batches)
    result = normdiag.recalibrate(module, batches, options=ALL)
    assert module.norm2.running_mean is None and result.report.outcome == "recalibrated"
    assert any("evaluation mode with the measured statistics: norm2" in note for note in result.report.notes)
    repaired = result.model.norm2
    found = repaired.running_mean.double().numpy(), repaired.running_var.double().numpy()
    assert largest_error(found, expected["norm2"]) < 1e-6
    one = batches[0][:1]
    with torch.no_grad():
        torch.testing.assert_close(result.model(one), result.model(batches[0])[:1])  # whatever else is in the batch
