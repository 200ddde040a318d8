"""From modules to programs: what is fixed, what is refused, and that the caller's module stays as it is."""

from __future__ import annotations

import copy
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.folding.options import ExportOptions
from normdiag.records import Batch
from tests.folding.pytorch.folded_cases import CASES, IMAGES, ROWS, case, data, foldable, folded
from tests.nets.small import ConvBN, TwoInputs, parametrized
from tests.observe.pytorch.helpers import bits, settled


def snapshot(module: nn.Module) -> dict[str, Any]:
    """All that a caller could see of a module."""
    seen: dict[str, Any] = dict(bits(module))
    for path, each in module.named_modules():
        seen[f"{path}.class"] = type(each), set(vars(type(each))) - {"__slotnames__"}  # which copy leaves behind
        seen[f"{path}.hooks"] = [list(hooks) for name, hooks in vars(each).items() if "hooks" in name]
        plain = {name: value for name, value in vars(each).items() if isinstance(value, int | float | str | bool)}
        seen[f"{path}.attributes"] = plain
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        seen[f"{name}.object"] = id(value), value._version, value.requires_grad, value.dtype, value.device
        seen[f"{name}.grad"] = None if value.grad is None else value.grad.clone().numpy().tobytes()
    return seen


@pytest.mark.parametrize("name", ["conv", "parametrized", "tied", "counting", "frozen"])
def test_the_module_is_untouched(name: str, tmp_path: Any) -> None:
    module, batch = case(name)
    module.train()
    next(iter(module.modules())).register_forward_hook(lambda *_: None)
    for value in module.parameters():
        value.grad = torch.ones_like(value)
    before, states = snapshot(module), (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    _, result = folded(module, batch)
    result.model(*(torch.from_numpy(array) for array in batch.arrays))
    result.write(tmp_path / "out.pt2")
    if name != "counting":
        result.write(tmp_path / "out.safetensors")
    assert snapshot(module) == before
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1]) and states[2] == random.getstate()


def test_hooks_that_change_values_count() -> None:
    module, batch = case("conv")
    module.bn2.register_forward_hook(lambda _, __, output: output + 1)
    plain = foldable(case("conv")[0], batch).evaluator().run(batch)["output"]
    np.testing.assert_allclose(foldable(module, batch).evaluator().run(batch)["output"], plain + 1, rtol=1e-6)


def test_batch_is_free_and_the_rest_is_not() -> None:
    (spec,) = foldable(*case("conv")).inputs
    assert spec.shape == (None, 3, 10, 10) and spec.dtype == "float32" and spec.name == "x"
    (spec,) = foldable(*case("conv"), ExportOptions(dynamic_axes=(0, 2, 3))).inputs
    assert spec.shape == (None, 3, None, None)
    (spec,) = foldable(*case("conv"), ExportOptions(dynamic_axes=())).inputs
    assert spec.shape == (3, 3, 10, 10)


def test_one_sample_is_enough() -> None:
    (spec,) = foldable(case("conv")[0], Batch((data(1, 3, 10, 10),))).inputs
    assert spec.shape == (None, 3, 10, 10)


class PerSample(ConvBN):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super(PerSample, self).forward(x[i : i + 1]) for i in range(x.shape[0])]).flatten(0, 1)


def test_fixed_batch_where_the_code_wants_it() -> None:
    original = foldable(settled(PerSample()), IMAGES)
    assert original.inputs[0].shape == (3, 3, 10, 10)
    assert "fixed at 3" in original.notes[0]
    assert original.evaluator().run(IMAGES)["output"].shape == (3, 5)
    with pytest.raises(InputError, match=r"\(3, 3, 10, 10\), and the data has \(1, 3, 10, 10\)"):
        original.evaluator().run(Batch((data(1, 3, 10, 10),)))


def test_module_of_a_program_with_a_fixed_batch() -> None:
    program = torch.export.export(case("conv")[0], (torch.zeros(4, 3, 10, 10),))
    original = foldable(program.module(), Batch((data(8, 3, 10, 10),)))
    assert original.inputs[0].shape == (4, 3, 10, 10) and "fixed at 4" in original.notes[0]


def test_inputs_by_name_and_by_position() -> None:
    module, batch = case("two inputs")
    expected = foldable(module, batch).evaluator().run(batch)
    assert set(expected) == {"left", "more.0", "more.1.0", "left again"}
    names = ("img", "ids")
    swapped = Batch(batch.arrays[::-1], names)
    found = foldable(module, swapped).evaluator().run(swapped)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    with pytest.raises(InputError, match=r"takes the inputs ids, img, and the data has 1"):
        foldable(module, batch).evaluator().run(ROWS)


def test_unknown_input_name_says_so() -> None:
    module, batch = case("two inputs")
    with pytest.raises(InputError, match="unexpected keyword argument 'other'"):
        foldable(module, Batch(batch.arrays, ("ids", "other")))


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such thing")


class DataDependent(ConvBN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(x) * 2


class Drawing(ConvBN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.from_numpy(np.random.default_rng().normal(size=10).astype(np.float32)))


@pytest.mark.parametrize(
    "module, message",
    [
        (
            Failing(),
            r"the model failed on an input of float32 \(3, 3, 10, 10\): KeyError: 'no such thing' \(.*line \d+\)",
        ),
        (DataDependent(), "torch.export cannot take this model: .*data-dependent.*export it to ONNX in your own code"),
        (nn.Linear(4, 2), r"failed on an input of float32 \(3, 3, 10, 10\): RuntimeError"),
        (Drawing(), "gives another 'output' than the model itself; does it draw random numbers"),
        (nn.LazyLinear(3), "lazy modules"),
    ],
)
def test_refused_in_one_line(module: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        foldable(module.eval(), IMAGES)
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_copied() -> None:
    class Uncopyable(ConvBN):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle 'generator' object")

    with pytest.raises(InputError, match=r"cannot be copied.*generator"):
        foldable(Uncopyable().eval(), IMAGES)


def test_weight_norm_that_has_run_is_copied() -> None:
    module = settled(parametrized())
    module(torch.zeros(2, 6)).sum().backward()  # its weight is then no leaf, which deepcopy refuses
    with pytest.raises(RuntimeError):
        copy.deepcopy(module)
    assert len(folded(module, ROWS)[1].plan.steps) == 4


def test_wrapped_modules(capfd: pytest.CaptureFixture[str]) -> None:
    module, batch = case("conv")
    expected = foldable(module, batch).evaluator().run(batch)["output"]
    for wrapped in (nn.DataParallel(module), torch.compile(module)):
        assert np.array_equal(foldable(wrapped, batch).evaluator().run(batch)["output"], expected)
    assert capfd.readouterr().out == ""


def test_integer_inputs() -> None:
    module = nn.Sequential(nn.Embedding(10, 6), nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5))
    batch = Batch((np.arange(12).reshape(3, 4) % 10,))
    original, result = folded(settled(module), batch)
    assert original.inputs[0].dtype == "int64" and len(result.plan.steps) == 1


def test_in_place_operations_go() -> None:
    """Those that nobody else sees keep their module; others are rewritten by torch."""
    for name, mutating in (("conv", False), ("counting", True)):
        module, batch = case(name)
        targets = [str(node.target) for node in foldable(module, batch).program.graph.nodes]
        assert not any("relu_" in target or "add_" in target for target in targets)
        assert ("aten.batch_norm.default" in targets) is not mutating


def test_no_data_of_the_user_in_the_program() -> None:
    original = foldable(*case("conv"))
    assert all(not value.any() for value in torch.utils._pytree.tree_leaves(original.program.example_inputs))


def test_all_cases_have_their_module_in_eval_mode() -> None:
    assert not any(each.training for name in CASES for each in case(name)[0].modules())
    assert isinstance(case("two inputs")[0], TwoInputs)


class Counted(ConvBN):
    """Keeps what its forward was run on: data, or torch.export's tensors without any."""

    seen: ClassVar[list[type]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(type(x))
        return super().forward(x)


def test_the_module_itself_runs_once() -> None:
    Counted.seen.clear()
    foldable(Counted(), IMAGES)
    assert Counted.seen.count(Tensor) == 1
