"""What goes into a forward and comes out of it, and what is said where the data do not fit."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normdiag.errors import InputError, UsageError
from normdiag.models.pytorch import module_layers
from normdiag.models.pytorch.arrays import to_numpy, to_tensor
from normdiag.observe.pytorch import TorchRunner
from normdiag.observe.pytorch.values import named_outputs
from normdiag.records import Batch, Model, ModelInfo
from tests.observe.pytorch.helpers import images, observe, runner


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.bn(left) - 2 * right


def test_named_arrays_go_in_by_keyword_and_others_by_position() -> None:
    left, right = images(4, 3), images(4, 3, seed=1)
    net = Pair().eval()
    by_name = runner(net).outputs(Batch((right, left), ("right", "left")))["output"]
    by_position = runner(net).outputs(Batch((left, right)))["output"]
    np.testing.assert_array_equal(by_name, by_position)


def test_a_sole_array_goes_in_by_position_whatever_its_name() -> None:
    assert observe(nn.Sequential(nn.BatchNorm1d(3)), images(4, 3), names=("pixels",)).layers["0"].calls == 1


def test_integers_stay_integers() -> None:
    net = nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4))
    for dtype in (np.int64, np.int32, np.uint16):
        groups = observe(net, np.arange(6, dtype=dtype).reshape(2, 3)).layers["1"].groups
        assert groups.channel_counts.sum() == 6


Point = namedtuple("Point", "x y")


@dataclass
class Detection:
    boxes: Tensor
    score: Tensor
    label: str = "cat"


ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (ONE, ["output"]),
        ((ONE, [ONE, None], "text"), ["output_0", "output_1.0"]),
        ({"logits": ONE, "hidden": (ONE, ONE)}, ["logits", "hidden.0", "hidden.1"]),
        (OrderedDict(out=ONE, aux=ONE), ["out", "aux"]),
        (Detection(ONE, ONE), ["boxes", "score"]),
        (Point(ONE, ONE), ["x", "y"]),
        (3.0, []),
    ],
)
def test_names_of_outputs(output: object, names: list[str]) -> None:
    assert list(named_outputs(output)) == names


def test_outputs_that_contain_themselves_come_to_an_end() -> None:
    loop: list[object] = [ONE]
    loop.append(loop)
    assert len(named_outputs(loop)) < 20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float16, torch.int8, torch.bool])
def test_every_dtype_survives_the_way_to_numpy_and_back(dtype: torch.dtype) -> None:
    value = torch.tensor([[0.0, 1.0], [2.0, 0.5]]).to(dtype)
    array = to_numpy(value.t())
    np.testing.assert_array_equal(array.astype(np.float32), value.t().float().numpy())
    assert torch.equal(to_tensor(array).float(), value.t().float())


def test_arrays_are_copied() -> None:
    array = np.zeros(3, ml_dtypes.bfloat16)
    to_tensor(array).add_(1)
    assert not array.any()


def test_a_forward_that_fails_is_one_line_with_its_place() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with pytest.raises(InputError, match=r"float32 \(4, 5, 8, 8\) in 0\.0: .*channels") as error:
        observe(net, images(4, 5, 8, 8))
    assert "\n" not in str(error.value)


def test_a_wrong_number_of_inputs_is_one_line() -> None:
    with pytest.raises(InputError, match=r"in Pair: .*right"):
        observe(Pair(), images(4, 3))


def test_a_channel_count_that_does_not_fit_the_norm_is_told_by_torch() -> None:
    with pytest.raises(InputError, match=r"in 0: .*running_mean"):
        observe(nn.Sequential(nn.BatchNorm1d(3)), images(4, 5))


def test_text_is_no_input() -> None:
    with pytest.raises(InputError, match="dtype"):
        observe(nn.Sequential(nn.BatchNorm1d(3)), np.array(["a", "b"]))


def test_lazy_modules_must_be_initialised_first() -> None:
    with pytest.raises(InputError, match="run it once"):
        runner(nn.Sequential(nn.LazyBatchNorm1d()))


@pytest.mark.parametrize("device", ["cuda:7", "mps", "toaster", "meta"])
def test_a_device_that_is_not_there(device: str) -> None:
    net = nn.BatchNorm1d(3)
    model = Model(ModelInfo(None, "module", "pytorch", None, None, None), module_layers(net), program=net)
    with pytest.raises(UsageError, match=device):
        TorchRunner(model, device)
