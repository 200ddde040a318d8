"""`normdiag diff --data`: where two models part, how much it makes, and why."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import normdiag
from benchmarks.diff import run_pair
from benchmarks.diff_faults import planted_pairs
from benchmarks.diff_pairs import PlantedPair, cnn, digits, with_attribute
from normdiag.cli.app import run
from normdiag.errors import InputError
from tests.commands.test_diff import SCHEMA, text

pytestmark = pytest.mark.exports
# Some of the planted pairs, those that are quick to make.
QUICK = (
    "one norm in training mode",
    "eps lost",
    "one GroupNorm as InstanceNorm",
    "layer norm summed in half precision, norm",
    "rms norm summed in half precision, norm",
    "normalization of the input doubled, CNN",
    "images on their side",
    "MLP of another step",
    "statistics of another model",
)


@pytest.mark.parametrize(
    "pair",
    [pytest.param(each, marks=() if each.name in QUICK else pytest.mark.slow) for each in planted_pairs()],
    ids=lambda pair: pair.name,
)
def test_a_planted_fault_is_found_in_both_orders(pair: PlantedPair) -> None:
    for found in run_pair(pair):
        assert found.right_layer and found.right_cause, found


def test_forty_faults_are_planted_and_the_quick_ones_are_among_them() -> None:
    names = [each.name for each in planted_pairs()]
    assert len(names) == 40 and set(QUICK) <= set(names)


@pytest.mark.parametrize("files", [("digits_cnn.onnx", "digits_cnn.pt2"), ("digits_cnn_folded.onnx", "digits_cnn.pt2")])
def test_files_of_one_network_compute_the_same(samples: Path, files: tuple[str, str]) -> None:
    for one, two in (files, files[::-1]):
        report = normdiag.diff(samples / one, samples / two, digits())
        assert report.equal and report.on_data is not None and report.on_data.parting is None
        assert not any(each.departs for each in report.on_data.places)
        assert "On the data both compute the same" in text(report)
        jsonschema.validate(json.loads(report.to_json()), SCHEMA)


def test_the_difference_after_a_layer_is_what_a_hook_sees(samples: Path) -> None:
    a, b = cnn(), cnn()
    b.norm2.eps = 0.05
    report = normdiag.diff(a, b, digits(8))
    seen: dict[str, torch.Tensor] = {}
    for letter, net in (("a", a), ("b", b)):
        handle = net.norm2.register_forward_hook(lambda module, args, out, letter=letter: seen.update({letter: out}))
        net(torch.from_numpy(digits(8)))
        handle.remove()
    expected = (seen["b"] - seen["a"]).abs().max() / seen["a"].abs().max()
    assert report.on_data is not None
    found = next(each for each in report.on_data.places if each.a == "norm2")
    assert found.relative == pytest.approx(float(expected.detach()), rel=1e-3)


def test_all_of_the_difference_goes_with_the_only_fault(samples: Path, tmp_path: Path) -> None:
    wrong = with_attribute(samples / "digits_cnn.onnx", tmp_path / "b.onnx", "BatchNormalization", 1, "epsilon", 0.05)
    for one, two in (
        (samples / "digits_cnn.onnx", wrong),
        (samples / "digits_cnn.pt2", wrong),
        (wrong, samples / "digits_cnn.pt2"),
    ):
        report = normdiag.diff(one, two, digits())
        assert report.on_data is not None and report.on_data.parting is not None
        assert report.on_data.parting.a == "norm2"
        assert report.on_data.parting.share == pytest.approx(1.0, abs=1e-3)
        assert report.on_data.parting.cause is not None
        assert "eps is" in text(report) and "all of the difference goes" in text(report)


def test_a_tolerance_accepts_a_difference(samples: Path, tmp_path: Path) -> None:
    wrong = with_attribute(samples / "digits_cnn.onnx", tmp_path / "b.onnx", "BatchNormalization", 1, "momentum", 0.5)
    assert normdiag.diff(samples / "digits_cnn.onnx", wrong, digits()).equal
    net = copy.deepcopy(cnn())
    with torch.no_grad():
        net.head.weight.mul_(1.001)
    assert not normdiag.diff(cnn(), net, digits()).equal
    assert normdiag.diff(cnn(), net, digits(), tolerance=0.01).equal


def test_modules_are_left_as_they_are() -> None:
    net = cnn().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    normdiag.diff(net, cnn(), digits())
    assert net.training and net.norm1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_fixed_batch_size_is_kept_to(samples: Path, tmp_path: Path) -> None:
    model = onnx.load(samples / "digits_cnn.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    report = normdiag.diff(samples / "digits_cnn.onnx", tmp_path / "one.onnx", digits(5))
    assert report.equal and report.on_data is not None
    assert (report.on_data.samples, report.on_data.batch_size) == (5, 1)


def test_inputs_of_other_names_go_by_position(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            return self.fc(one) - two

    net, x = Two().eval(), torch.randn(6, 4)
    y = torch.randn(6, 3)
    torch.onnx.export(net, (x, y), tmp_path / "two.onnx", dynamo=False, input_names=["left", "right"])
    data = {"left": x.numpy(), "right": y.numpy()}
    assert normdiag.diff(net, tmp_path / "two.onnx", [data]).equal
    assert normdiag.diff(tmp_path / "two.onnx", net, [data]).equal


def test_what_cannot_run_is_said_in_one_line(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(samples / "digits_cnn.onnx"), str(samples / "digits_cnn_foreign.pt")
    assert run(["diff", a, b, "--data", str(samples / "digits.npz")]) == 2
    error = capsys.readouterr().err
    assert "--arch" in error and error.count("\n") == 1
    assert run(["diff", a, b, "--batch-size", "4"]) == 2
    assert "--batch-size does nothing without --data" in capsys.readouterr().err
    with pytest.raises(InputError):
        normdiag.diff(samples / "digits_cnn.onnx", samples / "digits_cnn.pt2", np.zeros((4, 3, 9), np.float32))


def test_the_command_line(samples: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ["--data", str(samples / "digits.npz"), "--max-samples", "32"]
    right, wrong = str(samples / "digits_cnn.onnx"), str(samples / "digits_cnn_training.onnx")
    assert run(["diff", right, str(samples / "digits_cnn.pt2"), *data]) == 0
    assert run(["diff", right, wrong, *data]) == 1
    out = capsys.readouterr().out
    assert "First to depart: norm1" in out and "Cause (training_mode)" in out
    assert run(["diff", right, wrong, *data, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert found["on_data"]["parting"]["cause"]["cause"] == "training_mode"


def test_a_published_export_and_its_simplified_form_part_at_the_boxes(real: Callable[[str], Path]) -> None:
    """The simplified file leaves the decoding of the boxes out; the scores are the same."""
    whole, simplified = real("ultraface/version-slim-320.onnx"), real("ultraface/version-slim-320_simplified.onnx")
    x = np.random.default_rng(0).normal(size=(1, 3, 240, 320)).astype(np.float32)
    report = normdiag.diff(whole, simplified, x)
    assert report.on_data is not None and report.on_data.parting is not None
    assert [(each.a, each.departs) for each in report.on_data.outputs] == [("scores", False), ("boxes", True)]
    assert report.on_data.parting.a == "boxes" and not report.changed
    inner = [each for each in report.on_data.places if each.a != "boxes"]
    assert len(inner) > 70 and not any(each.departs for each in inner)
