"""A model that nobody gave an input is run on the first usual one that it takes, and left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normdiag.observe.pytorch.usual_inputs import usual_inputs
from normdiag.records import InputSpec
from tests.nets.net import Net


def flat(side: int) -> nn.Module:
    """Takes images of one size, by its first Linear."""
    parts = {"conv": nn.Conv2d(1, 4, 3, padding=1), "norm": nn.BatchNorm2d(4), "head": nn.Linear(4 * side * side, 2)}
    return Net(lambda s, x: s.head(s.norm(s.conv(x)).flatten(1)), **parts)


CASES = {
    "images": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 224, 224)),
    "CIFAR's size": (flat(32), (1, 32, 32)),
    "MNIST's size": (flat(28), (1, 28, 28)),
    "sound": (nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)), (2, 1024)),
    "volumes": (nn.Conv3d(1, 2, 3), (1, 16, 112, 112)),
    "features": (nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)), (5,)),
    "sequences": (nn.LSTM(6, 3, batch_first=True), (16, 6)),
    "tokens": (nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4)), (16,)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_layer_and_the_usual_sizes(name: str) -> None:
    module, shape = CASES[name]
    found = usual_inputs(module)
    assert found is not None
    (spec,), reason = found
    assert spec.shape == (None, *shape)
    assert spec.dtype == ("int64" if name == "tokens" else "float32")
    assert "a usual size for" in reason


def test_what_the_file_says_comes_first_where_it_runs() -> None:
    module = CASES["images"][0]
    said = InputSpec("x", "float32", (None, 3, 40, 50))
    assert usual_inputs(module, [said]) == ((said,), "as its file says")
    wrong = InputSpec("x", "float32", (None, 4, 40, 50))
    assert usual_inputs(module, [wrong]) == usual_inputs(module)


def test_timm_keeps_the_size_in_the_module() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3))
    module.pretrained_cfg = {"input_size": (3, 48, 48)}
    found = usual_inputs(module)
    assert found is not None and found[0][0].shape == (None, 1, 48, 48)
    module.pretrained_cfg = {"input_size": "a lot"}
    assert usual_inputs(module) == usual_inputs(nn.Sequential(nn.Conv2d(1, 4, 3)))


def test_none_is_found_where_none_runs() -> None:
    assert usual_inputs(flat(13)) is None
    assert usual_inputs(nn.ReLU()) is None


def test_the_module_is_left_as_it_was() -> None:
    module = flat(28).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    usual_inputs(module)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(each.training for each in module.modules())
