"""Folded weights and the architecture that they came from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.folding.pytorch import load_folded
from normdiag.records import Batch
from sample_models.net import DigitsCNN, DigitsTransformer
from tests.folding.pytorch.folded_cases import CASES, IMAGES, ROWS, case, data, foldable, folded, folded_case, relative
from tests.nets.norms_by_hand import LlamaRMSNorm
from tests.nets.small import ConvBN, tied
from tests.observe.pytorch.helpers import bits, settled

EXPRESSED = ("conv", "parametrized", "tied", "frozen", "two inputs", "before", "instance", "transposed", "two norms")
CLOSE = 3e-6


def outputs(module: nn.Module, batch: Batch) -> Any:
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(module(*(torch.from_numpy(array) for array in batch.arrays)))
    return {str(index): value.numpy() for index, value in enumerate(leaves) if isinstance(value, Tensor)}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", EXPRESSED)
def test_written_and_loaded(name: str, suffix: str, tmp_path: Path) -> None:
    module, batch, _, result = folded_case(name)
    path = tmp_path / f"out{suffix}"
    (note,) = result.write(path)
    assert note == f"load them into the original architecture with normdiag.load_folded(Net(), 'out{suffix}')"
    torch.manual_seed(9)
    fresh = CASES[name][0]()
    loaded = load_folded(fresh, path)
    assert loaded is fresh
    assert relative(outputs(loaded.eval(), batch), outputs(module, batch)) < CLOSE
    assert not [each for each in loaded.modules() if getattr(each, "running_mean", None) is not None]


def test_keys_are_those_of_the_architecture() -> None:
    keys = {f"{layer}.{role}" for layer in "abcd" for role in ("weight", "bias")}
    assert set(folded_case("parametrized")[3].weights) == keys


def test_what_load_folded_makes_of_the_module() -> None:
    module, batch = case("conv")
    loaded = load_folded(ConvBN(), folded(module, batch)[1].weights)
    assert isinstance(loaded.bn, nn.Identity) and isinstance(loaded.bn2, nn.Identity)
    assert isinstance(loaded.conv.bias, nn.Parameter) and loaded.conv.bias.requires_grad


def test_layer_norms_stay_without_affine() -> None:
    torch.manual_seed(1)
    net = DigitsTransformer("layer")
    for value in net.parameters():
        value.data += 0.1 * torch.randn_like(value)
    batch = Batch((data(3, 1, 8, 8),))
    _, result = folded(net.eval(), batch, ("batch", "layer"))
    loaded = load_folded(DigitsTransformer("layer"), result.weights).eval()
    assert loaded.norm.weight is None and loaded.norm.bias is None
    assert relative(outputs(loaded, batch), outputs(net, batch)) < CLOSE


def test_norms_written_by_hand_get_a_neutral_gamma() -> None:
    module = nn.Sequential(LlamaRMSNorm(6), nn.Linear(6, 4)).eval()
    _, result = folded(module, ROWS, ("layer",))
    assert set(result.program.state_dict) == {"1.weight", "1.bias"}
    assert torch.equal(result.weights["0.weight"], torch.ones(6))
    loaded = load_folded(nn.Sequential(LlamaRMSNorm(6), nn.Linear(6, 4)), result.weights)
    assert relative(outputs(loaded, ROWS), outputs(module, ROWS)) < CLOSE


def test_tied_weights_that_parted() -> None:
    module, batch = case("tied")
    loaded = load_folded(tied(), folded(module, batch)[1].weights)
    assert loaded.a.weight is not loaded.b.weight and loaded.again is loaded.a


def test_weights_that_were_not_folded_load_as_ever() -> None:
    module, _ = case("conv")
    loaded = load_folded(ConvBN(), module.state_dict())
    assert bits(loaded.eval()) == bits(module)


def test_arrays_and_half_precision() -> None:
    module, batch = case("conv")
    weights = {name: value.numpy() for name, value in folded(module.half(), batch)[1].weights.items()}
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}
    loaded = load_folded(ConvBN().half(), weights)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float16}


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "shared conv",
            "'conv#2' runs more than once, and each time with other weights now; write .pt2 or .onnx instead",
        ),
        ("functional", "'batch_norm' is no module that could be taken out of the model's code"),
        ("wrapped", "'norm.batch_norm' is no module|the module 'norm' does more than normalize"),
        ("shift stays", "weights cannot express what becomes of '0', an addition"),
        ("branches", "no module that could be taken out"),
        ("products", "has no place in the model's code"),
    ],
)
def test_what_weights_cannot_express(name: str, message: str, tmp_path: Path) -> None:
    _, _, _, result = folded_case(name)
    with pytest.raises(InputError, match=message):
        result.write(tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_module_that_uses_its_norm_elsewhere() -> None:
    """Nothing in the names tells; trying it out does."""

    class Peeking(ConvBN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.bn.running_var.sum()

    _, result = folded(settled(Peeking()), IMAGES)
    with pytest.raises(InputError, match="the model's code does not run with the folded weights"):
        result.weights  # noqa: B018


def test_programs_have_no_code() -> None:
    program = torch.export.load("sample_models/digits_cnn.pt2")
    for source in (program, program.module(), torch.jit.load("sample_models/digits_cnn.torchscript.pt")):
        _, result = folded(source, Batch((data(3, 1, 8, 8),)))
        with pytest.raises(InputError, match=r"write \.pt2 or \.onnx instead"):
            result.weights  # noqa: B018


Change = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda weights: weights.pop("conv.weight"), "1 missing: conv.weight"),
        (lambda weights: weights.update(other=torch.zeros(1)), "1 unexpected: other"),
        (lambda weights: weights.update({"act.bias": torch.zeros(1)}), "1 unexpected: act.bias"),
        (
            lambda weights: weights.update({"conv.bias": torch.zeros(3)}),
            r"conv.bias is \(3,\) and the module wants \(4,\)",
        ),
        (
            lambda weights: weights.update({"fc.weight": torch.zeros(5, 5)}),
            r"fc.weight is \(5, 5\) and the module wants",
        ),
        (lambda weights: weights.update({"bn.weight": torch.zeros(4)}), "3 missing: bn.bias, bn.running_mean"),
    ],
)
def test_weights_that_do_not_fit(change: Change, message: str) -> None:
    weights = dict(folded_case("conv")[3].weights)
    change(weights)
    fresh = ConvBN()
    before, kinds = bits(fresh), [type(each) for each in fresh.modules()]
    with pytest.raises(InputError, match=message):
        load_folded(fresh, weights)
    assert bits(fresh) == before and [type(each) for each in fresh.modules()] == kinds


def test_another_architecture() -> None:
    with pytest.raises(InputError, match=r"11 missing: conv1.weight.* 4 unexpected: conv.weight"):
        load_folded(DigitsCNN("group"), folded_case("conv")[3].weights)


def test_one_tensor_with_two_values() -> None:
    module, batch = case("tied")
    weights = dict(folded(module, batch)[1].weights)
    weights["again.weight"] = weights["again.weight"] + 1
    with pytest.raises(InputError, match=r"a\.weight and again\.weight are one tensor with two values"):
        load_folded(tied(), weights)


def test_norms_without_anything_stored_stay() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False)
    )
    module = settled_without_affine(module)
    _, result = folded(module, IMAGES)
    loaded = load_folded(copy.deepcopy(module), result.weights)
    assert isinstance(loaded[1], nn.InstanceNorm2d) and isinstance(loaded[3], nn.Identity)
    assert relative(outputs(loaded, IMAGES), outputs(module, IMAGES)) < CLOSE


def settled_without_affine(module: nn.Module) -> nn.Module:
    module[3].running_mean.normal_()  # type: ignore[index]
    module[3].running_var.uniform_(0.5, 2.0)  # type: ignore[index]
    return module.eval()


def test_files_are_read_without_running_them(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"conv.weight": Bomb()}, tmp_path / "bad.pt")
    with pytest.raises(InputError):
        load_folded(ConvBN(), tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="no such file"):
        load_folded(ConvBN(), tmp_path / "none.safetensors")


def test_taking_out_a_parametrization_leaves_other_copies_alone() -> None:
    """Copies of a parametrized module share its class, from which torch takes the property."""
    module, batch = case("parametrized")
    expected = outputs(module, batch)
    assert "a.weight" in folded(module, batch)[1].weights
    assert relative(outputs(module, batch), expected) == 0.0
    assert foldable(module, batch).inputs
