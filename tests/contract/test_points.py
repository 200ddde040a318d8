"""One suite, both backends: the sums of a model's points are those of float64 activations, and the two agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from normdiag import DataOptions, LoadOptions, Profile
from normdiag.matching.points import match_points
from normdiag.metrics.moments import moments
from normdiag.metrics.reference import drift_between
from normdiag.records import Point, PointSums
from sample_models.net import DigitsCNN
from tests.contract.test_backends import BACKENDS, PAIRS
from tests.nets.digits import digits
from tests.nets.exported import onnx_file
from tests.nets.net import Net

IN_ORDER = DataOptions(batch_size=50, shuffled=False)


def profile_of(backend: str, name: str, samples: Path) -> Profile:
    data = [str(samples / "digits.npz")]
    if backend == "onnx":
        return normdiag.profile(samples / f"{name}.onnx", data=data, data_options=IN_ORDER)
    factory, arguments = PAIRS[name]
    load = LoadOptions(arch=f"{samples / 'net.py'}:{factory}", arch_args=arguments)
    return normdiag.profile(samples / f"{name}.pt", data=data, data_options=IN_ORDER, load_options=load)


def statistics(sums: PointSums) -> tuple[np.ndarray, np.ndarray]:
    seen = moments(sums.sums)
    return seen.shift + sums.shift, seen.var


def entering(net: nn.Module, x: np.ndarray) -> dict[str, np.ndarray]:
    """What enters every norm and activation, in float64, and what leaves the network."""
    seen: dict[str, np.ndarray] = {}
    for name, module in net.named_modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.ReLU)):
            module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].numpy().copy()}))
    with torch.no_grad():
        seen["output"] = net.double().eval()(torch.from_numpy(x).double()).numpy()
    return {"input": x.astype(np.float64)} | seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_points_equal_float64_from_whole_activations(backend: str, norm: str, samples: Path) -> None:
    name = "digits_cnn" if norm == "batch" else f"digits_cnn_{norm}"
    net = DigitsCNN(norm=norm)
    net.load_state_dict(torch.load(samples / f"{name}.pt", weights_only=True))
    expected = entering(net, digits()[0])
    found = profile_of(backend, name, samples).points
    assert [point.role for point in found] == ["input", *["norm", "activation"] * 3, "output"]
    for point, (sums, x) in zip(found, zip(found.values(), expected.values(), strict=True), strict=True):
        flat = x.reshape(*x.shape[:2], -1)
        assert sums.count == len(x)
        mean, var = statistics(sums)
        scale = np.sqrt(flat.var((0, 2)).mean())
        np.testing.assert_allclose(mean, flat.mean((0, 2)), rtol=1e-5, atol=1e-5 * scale, err_msg=str(point))
        np.testing.assert_allclose(var, flat.var((0, 2)), rtol=1e-4, atol=1e-6 * scale**2, err_msg=str(point))
        of_samples = flat.mean(2).var(0, ddof=1)
        np.testing.assert_allclose(moments(sums.sums).cov_mm, of_samples, rtol=1e-3, atol=1e-6 * scale**2)


@pytest.mark.parametrize("name", PAIRS)
def test_pytorch_and_onnx_keep_the_same_points(name: str, samples: Path) -> None:
    one, two = (profile_of(backend, name, samples).points for backend in BACKENDS)
    inner = [[point for point in each if point.role in ("norm", "activation")] for each in (one, two)]
    assert [(p.role, p.kind) for p in inner[0]] == [(p.role, p.kind) for p in inner[1]]
    for left, right in zip(inner[0], inner[1], strict=True):
        assert one[left].channels == two[right].channels and one[left].count == two[right].count == 359
        for a, b in zip(statistics(one[left]), statistics(two[right]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(a).max())
    matched = match_points(two, one)
    assert len(matched.pairs) == len(one) == len(two)
    assert all(drift_between(two[here], one[there]).rms < 1e-5 for here, there in matched.pairs)


def test_the_model_is_left_as_it_was_and_modules_called_twice_add_up() -> None:
    net = Net(lambda s, x: s.norm(s.norm(x) + 1.0), norm=nn.LayerNorm(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = normdiag.profile(net, np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)).points
    assert found[Point("norm", "norm", "layer_norm")].count == 40
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("offset", [0.0, 3e3])
def test_a_large_mean_costs_no_digits_in_either_backend(offset: float, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)).eval()
    with torch.no_grad():
        net[0].bias += offset
    x = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    path = onnx_file(net, torch.from_numpy(x[:2]), tmp_path / "net.onnx", dynamo=False)
    with torch.no_grad():
        expected = net[0].double()(torch.from_numpy(x).double()).numpy().var((0, 2, 3))
    net.float()
    for model in (net, path):
        points = normdiag.profile(model, x, data_options=IN_ORDER).points
        sums = next(sums for point, sums in points.items() if point.role == "activation")
        np.testing.assert_allclose(moments(sums.sums).var, expected, rtol=2e-3)
