"""ND110: several copies of a model in one file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdiag
from normdiag.records import CopyComparison, Finding
from tests.rules.test_rules import found, report

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402


def trained(seed: int = 0) -> nn.Module:
    """A small net after a few steps on noise, so that nothing in it is initial."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    train(net, 3)
    return net


def train(net: nn.Module, steps: int, average: AveragedModel | None = None) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 8, 8) + 0.5).square().sub(torch.randn(8, 8, 4, 4)).square().mean().backward()
        optimizer.step()
        if average is not None:
            average.update_parameters(net)


def findings(path: Path, content: Any) -> list[Finding]:
    torch.save(content, path)
    return [each for each in normdiag.inspect(path).findings if each.rule == "ND110"]


def averaged(use_buffers: bool) -> tuple[nn.Module, AveragedModel]:
    net = trained()
    average = AveragedModel(net, use_buffers=use_buffers)
    train(net, 5, average)
    return net, average


def adam(step: int) -> dict[str, Any]:
    return {"state": {0: {"step": torch.tensor(float(step)), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1}]}


COUNTED = {
    "by the optimizer": {"optimizer": adam(8)},
    "by the trainer": {"global_step": 8, "epoch": 1},
    "by numpy": {"meta": {"iter": np.int64(8)}},
}


@pytest.mark.parametrize("beside", COUNTED.values(), ids=COUNTED)
def test_averaged_weights_with_unaveraged_statistics(tmp_path: Path, beside: dict[str, Any]) -> None:
    """3 + 5 steps, as many as the file tells of: the statistics were updated in them."""
    net, average = averaged(use_buffers=False)
    (finding,) = findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict(), **beside})
    assert (finding.layers, finding.severity) == (("ema",), "warning")
    assert finding.message.startswith("ema: has the running statistics of 'model'")
    assert "updated in training" in finding.message and finding.remedy.startswith("Recalibrate")


def test_an_average_from_the_first_step_on_counts_them_itself(tmp_path: Path) -> None:
    net = trained()
    for norm in (net[1], net[4]):
        norm.reset_running_stats()
    average = AveragedModel(net)
    train(net, 4, average)
    (finding,) = findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict()})
    assert finding.severity == "warning"


def test_counters_that_differ_say_that_the_statistics_were_updated(tmp_path: Path) -> None:
    net, average = averaged(use_buffers=False)
    for norm in (average.module[1], average.module[4]):
        norm.num_batches_tracked.fill_(3)
    (finding,) = findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict()})
    assert finding.severity == "warning"


@pytest.mark.parametrize("beside", [{}, {"optimizer": adam(5000)}, {"epoch": 8}, {"global_step": "8"}])
def test_where_the_file_does_not_say_it_is_information(tmp_path: Path, beside: dict[str, Any]) -> None:
    net, average = averaged(use_buffers=False)
    (finding,) = findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict(), **beside})
    assert finding.severity == "info" and "if the statistics were frozen" in finding.message


def frozen() -> tuple[nn.Module, AveragedModel]:
    """Trained with its norm layers in eval mode, gamma and beta included: healthy, and so is the average."""
    net = trained().eval()
    average = AveragedModel(net)
    train(net, 5, average)
    return net, average


def test_trap_statistics_that_were_frozen_while_gamma_and_beta_were_trained(tmp_path: Path) -> None:
    net, average = frozen()
    content = {"model": net.state_dict(), "ema": average.state_dict(), "optimizer": adam(5), "global_step": 5}
    (finding,) = findings(tmp_path / "c.pt", content)
    assert finding.severity == "info" and "right if the statistics were frozen" in finding.message


def test_trap_frozen_statistics_that_no_training_has_updated(tmp_path: Path) -> None:
    net, average = frozen()
    for each in (net[1], net[4], average.module[1], average.module[4]):
        each.num_batches_tracked.zero_()
    assert not findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict()})


def test_averaged_statistics_are_in_order(tmp_path: Path) -> None:
    net, average = averaged(use_buffers=True)
    assert not findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": average.state_dict()})


def test_an_average_beside_the_model_in_one_state_dict(tmp_path: Path) -> None:
    for use_buffers, fires in ((False, True), (True, False)):
        net, average = averaged(use_buffers)
        both = {f"model.{name}": value for name, value in net.state_dict().items()}
        both |= {f"ema_model.{name}": value for name, value in average.state_dict().items()}
        assert bool(findings(tmp_path / "c.pt", {"state_dict": both})) is fires


def test_trap_frozen_norm_layers(tmp_path: Path) -> None:
    net = trained()
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.mul_(1.5)
    assert not findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": other.state_dict()})
    with torch.no_grad():
        other[1].weight.mul_(1.5)
    assert findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": other.state_dict()})


def test_trap_initial_statistics_and_another_architecture(tmp_path: Path) -> None:
    fresh = [nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)) for _ in range(2)]
    for net in fresh:
        nn.init.uniform_(net[1].weight)
    assert not findings(tmp_path / "c.pt", {"model": fresh[0].state_dict(), "ema": fresh[1].state_dict()})
    assert not findings(tmp_path / "d.pt", {"model": trained().state_dict(), "ema": fresh[1].state_dict()})


def test_another_model_of_the_same_shape_is_no_copy_with_a_fault(tmp_path: Path) -> None:
    assert not findings(tmp_path / "c.pt", {"model": trained(0).state_dict(), "teacher": trained(1).state_dict()})


def test_replicas_with_equal_weights_and_other_statistics(tmp_path: Path) -> None:
    net = trained()
    other = copy.deepcopy(net)
    other[1].running_mean.add_(0.5 * other[1].running_var.sqrt())
    (finding,) = findings(tmp_path / "c.pt", [net.state_dict(), other.state_dict()])
    assert "weights of" in finding.message
    assert not findings(tmp_path / "c.pt", [net.state_dict(), net.state_dict()])


def test_a_damaged_copy_does_not_keep_the_model_from_being_read(tmp_path: Path) -> None:
    net = trained()
    broken = {name: value.float() * float("nan") for name, value in net.state_dict().items()}
    assert not findings(tmp_path / "c.pt", {"model": net.state_dict(), "ema": broken})
    content = {"model": net.state_dict(), "ema": {k: v + 1 for k, v in net.state_dict().items()}}
    torch.save(content, tmp_path / "d.pt")
    data, last = (tmp_path / "d.pt").read_bytes(), content["ema"]["4.running_var"].numpy().tobytes()
    (tmp_path / "d.pt").write_bytes(data.replace(last, last[::-1]))
    assert data.count(last) == 1
    assert normdiag.inspect(tmp_path / "d.pt").model.notes


@pytest.mark.parametrize(
    ("weights", "affine", "statistics", "fires"),
    [
        (0.015, 0.01, 0.0, True),
        (0.009, 0.01, 0.0, False),
        (0.015, 0.0, 0.0, False),
        (0.015, 0.01, 1e-6, False),
        (0.0, 0.0, 0.15, True),
        (0.0, 0.0, 0.09, False),
        (0.0, 1e-6, 0.15, False),
    ],
)
def test_limits(weights: float, affine: float, statistics: float, fires: bool) -> None:
    copies = (CopyComparison("ema", "model", weights, affine, statistics),)
    assert bool(found("ND110", report(copies=copies))) is fires


def test_the_figures_of_a_comparison(tmp_path: Path) -> None:
    from normdiag.models.static import read_static

    net = trained()
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.mul_(1.1)
        other[3].weight.mul_(1.1)
        other[1].weight.mul_(1.2)
        other[1].bias.mul_(1.2)
    other[1].running_mean.add_(0.3 * (other[1].running_var + 1e-5).sqrt())
    torch.save({"model": net.state_dict(), "ema": other.state_dict()}, tmp_path / "c.pt")
    (compared,) = read_static(tmp_path / "c.pt", "torch-zip").copies
    assert compared.weights == pytest.approx(0.1, rel=1e-3)
    norms = [net[i].state_dict() for i in (1, 4)]
    squares = [sum(float(each[role].square().sum()) for role in ("weight", "bias")) for each in norms]
    assert compared.affine == pytest.approx(0.2 * np.sqrt(squares[0] / sum(squares)), rel=1e-3)
    assert compared.statistics == pytest.approx(0.3 / np.sqrt(2), rel=1e-3)
