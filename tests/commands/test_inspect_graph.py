"""The rules on the graph (ND2xx) and a PyTorch model: wherever there is an example of its input."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import normdiag
from normdiag.data import DataOptions
from normdiag.errors import UsageError
from normdiag.models import LoadOptions
from tests.nets.net import Net

IMAGES = np.random.default_rng(0).normal(size=(12, 3, 8, 8)).astype(np.float32)
COULD_NOT = "the rules on the graph (ND2xx) could not look: "


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm2d(4))


def rules_of(report: normdiag.Report) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.exports
def test_with_data_the_graph_of_a_module_is_looked_at() -> None:
    report = normdiag.inspect(net(), IMAGES)
    found = {finding.rule: finding for finding in report.findings}
    assert found["ND202"].layers == ("1",)
    assert found["ND203"].layers == ("0",)
    assert found["ND204"].layers == ("4",)
    assert not [note for note in report.notes if "graph" in note]


@pytest.mark.exports
def test_batches_that_come_once_are_looked_at_once() -> None:
    drawn: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, 12, 4):
            drawn.append(start)
            yield IMAGES[start : start + 4]

    assert "ND202" in rules_of(normdiag.inspect(net(), batches()))
    assert drawn == [0, 4, 8]


@pytest.mark.exports
def test_a_shape_is_enough_and_nothing_is_measured() -> None:
    report = normdiag.inspect(net(), data_options=DataOptions(input_shapes=("3,8,8",)))
    assert report.data is None
    assert {"ND202", "ND203", "ND204"} <= rules_of(report)
    assert not {"ND202", "ND203", "ND204"} & rules_of(normdiag.inspect(net()))


@pytest.mark.exports
def test_a_program_brings_its_own_example(samples: Path) -> None:
    report = normdiag.inspect(samples / "digits_cnn.pt2", load_options=LoadOptions(trust=True))
    assert "ND202" in rules_of(report)


def test_a_shape_for_an_onnx_model_without_data_is_a_mistake(samples: Path) -> None:
    with pytest.raises(UsageError, match="--input-shape does nothing"):
        normdiag.inspect(samples / "digits_cnn.onnx", data_options=DataOptions(input_shapes=("1,8,8",)))


def test_the_module_is_as_before() -> None:
    module = net().train()
    before = [(name, id(tensor), tensor.clone()) for name, tensor in module.state_dict(keep_vars=True).items()]
    grad = [each.requires_grad for each in module.parameters()]
    random = torch.get_rng_state()
    normdiag.inspect(module, IMAGES)
    after = module.state_dict(keep_vars=True)
    assert [(name, id(tensor)) for name, tensor in after.items()] == [each[:2] for each in before]
    assert all(torch.equal(after[name], value) for name, _, value in before)
    assert all(each.training for each in module.modules())
    assert [each.requires_grad for each in module.parameters()] == grad
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.exports
def test_a_module_that_cannot_be_exported_leaves_one_note() -> None:
    report = normdiag.inspect(
        Net(lambda s, x: s.norm(x) if x.sum() > 0 else s.norm(-x), norm=nn.BatchNorm2d(3)), IMAGES
    )
    (note,) = [note for note in report.notes if "graph" in note]
    assert note.startswith(COULD_NOT + "torch.export cannot take this model")
    assert report.layers[0].calls


def test_a_graph_that_is_not_understood_leaves_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("kernel_size")

    monkeypatch.setattr("normdiag.folding.pytorch.foldable.torch_graph", fail)
    report = normdiag.inspect(net(), IMAGES)
    (note,) = [note for note in report.notes if "graph" in note]
    assert note == COULD_NOT + "its exported graph is not understood (KeyError: 'kernel_size')"
    assert report.layers[0].calls


def test_an_old_torch_leaves_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    report = normdiag.inspect(net(), IMAGES)
    (note,) = [note for note in report.notes if "graph" in note]
    assert note.startswith(COULD_NOT + "exporting the model needs torch 2.6 or newer")
    assert "ND202" not in rules_of(report)


class ByHand(nn.Module):
    """A LayerNorm that no class name gives away, between two that inspect knows, and an RMSNorm in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.LayerNorm(8), nn.LayerNorm(8)
        self.middle = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.first(x))
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-5)
        return self.last(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


@pytest.mark.exports
def test_normalization_written_out_by_hand_is_listed_where_it_runs_and_measured() -> None:
    torch.manual_seed(0)
    rows = np.random.default_rng(1).normal(size=(40, 3, 8)).astype(np.float32)
    net = ByHand()
    report = normdiag.inspect(net, rows, data_options=DataOptions(batch_size=16, shuffled=False))
    assert [each.layer.name for each in report.layers] == ["first", "layer_norm", "rms_norm", "last"]
    by_hand = report.layers[1]
    assert (by_hand.layer.kind, by_hand.layer.origin, by_hand.layer.eps) == ("layer_norm", "decomposed", 1e-5)
    with torch.no_grad():
        x = net.middle(net.first(torch.from_numpy(rows[:16])))
    assert by_hand.groups is not None
    assert by_hand.groups.variance_min == pytest.approx(x.var(-1, correction=0).min().item(), rel=1e-5)
    (note,) = [note for note in report.notes if "spelled out" in note]
    assert note.endswith("layer_norm, rms_norm; measured on the first 16 samples")


@pytest.mark.exports
def test_without_data_it_is_listed_all_the_same() -> None:
    report = normdiag.inspect(ByHand(), data_options=DataOptions(input_shapes=("3,8",)))
    assert [each.layer.name for each in report.layers] == ["first", "layer_norm", "rms_norm", "last"]
    assert report.layers[1].groups is None


@pytest.mark.exports
def test_a_model_that_has_no_other() -> None:
    net = nn.Sequential(nn.Linear(8, 8), _Rms())
    report = normdiag.inspect(net, np.ones((4, 8), np.float32))
    assert [(each.layer.name, each.layer.kind) for each in report.layers] == [("1", "rms_norm")]


class _Rms(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Keeping(nn.Module):
    """One that `inspect` takes for a BatchNorm, by the statistics that it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(8))
        self.register_buffer("running_var", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-5)


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (nn.Sequential(Keeping()), ["0"]),
        (Net(lambda s, x: s.norm(s.linear(s.norm(x))), norm=_Rms(), linear=nn.Linear(8, 8)), ["norm"]),
    ],
)
def test_no_layer_is_listed_twice(net: nn.Module, names: list[str]) -> None:
    report = normdiag.inspect(net, np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    assert [each.layer.name for each in report.layers] == names


@pytest.mark.exports
@pytest.mark.parametrize("before", [True, False])
def test_the_collector_of_garbage_is_as_it_was(before: bool) -> None:
    during: list[bool] = []

    class Seen(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            during.append(gc.isenabled())
            return super().forward(x)

    (gc.enable if before else gc.disable)()
    try:
        normdiag.inspect(Seen(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.rand(8, 3, 8, 8))
        assert gc.isenabled() == before
        assert not during[-1]  # when it is recorded, last of all
    finally:
        gc.enable()
