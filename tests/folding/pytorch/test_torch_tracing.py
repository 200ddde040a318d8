"""What is recorded for reading is what torch.export gives; where it cannot be, torch.export is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch import export
from normdiag.folding.pytorch.tracing import BeyondTracingError, traced_program
from normdiag.graph.importers.torch_export.calls import module_of
from normdiag.records import Batch
from tests.folding.pytorch.folded_cases import CASES, IMAGES, ROWS, case
from tests.folding.test_zoo_torch import CASES as ZOO
from tests.folding.zoo.torch_case import TorchCase
from tests.nets.net import Net
from tests.nets.small import products
from tests.observe.pytorch.helpers import bits

pytestmark = pytest.mark.exports
# torch's asserts on dtypes, which a recording has not.
ASSERTS = "_assert_tensor_metadata"


def exported(module: nn.Module, batch: Batch) -> ExportedProgram:
    copied = export.deployed_copy(module, share=True)
    return export.functional(export._exported(copied, batch, ExportOptions(dynamic_axes=())))


def seen(program: ExportedProgram) -> list[Any]:
    """All that the graph is read for: names, operators, arguments, sizes, modules, and what is stored where."""
    nodes = [node for node in program.graph.nodes if ASSERTS not in node.name]
    values = [getattr(node.meta.get("val"), "shape", None) for node in nodes]
    signature = program.graph_signature
    held = {name: value.data_ptr() for name, value in program.state_dict.items()}
    specs = [(spec.kind, spec.arg, spec.target) for spec in (*signature.input_specs, *signature.output_specs)]
    calls = [(node.name, str(node.target), str(node.args), str(node.kwargs), module_of(node)) for node in nodes]
    return [*zip(calls, values, strict=True), *specs, held, sorted(program.constants), *program.call_spec]


def same(module: nn.Module, batch: Batch) -> None:
    traced = export._traced(export.deployed_copy(module, share=True), batch)
    for one, other in zip(seen(traced), seen(exported(module, batch)), strict=True):
        assert one == other


@pytest.mark.parametrize("name", sorted(set(CASES) - {"counting", "tied"}))
def test_as_torch_exports_it(name: str) -> None:
    same(*case(name))


@pytest.mark.slow
@pytest.mark.parametrize("each", [each for each in ZOO if "block_called_twice" not in str(each.id)])
def test_the_zoo_as_torch_exports_it(each: TorchCase) -> None:
    same(each.module(), Batch(tuple(value.numpy() for value in each.inputs())))


class Constants(nn.Module):
    """Holds a tensor beside its buffers, makes some, names an input as Python does a function, returns a number."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.ones(6)
        self.register_buffer("mask", torch.ones(6), persistent=False)

    def forward(self, input: Tensor, *, Scale: Tensor) -> dict[str, Any]:
        first, _, _ = (input * Scale + self.shift * self.mask).split(2, 1)
        made = torch.arange(2) + torch.tensor([1.0, 2.0])
        return {"sum": first + made, "count": 3, "given": Scale}


def test_constants_and_names() -> None:
    batch = Batch((*ROWS.arrays, *ROWS.arrays), names=("input", "Scale"))
    same(Constants(), batch)


LAYER = nn.Linear(6, 6)
TWICE = Net(lambda s, x: s.second(s.first(x)), first=LAYER, second=LAYER)


class OtherPrecision(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


class Remembers(nn.Linear):
    """Keeps a tensor, and runs into a branch on values that only an example has."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = x
        return super().forward(x) if x.sum() > 0 else x


class Shared(nn.Module):
    """Writes into what is read again."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        rows = y[:1]
        rows.mul_(2)
        return y


@pytest.mark.parametrize("module", [TWICE, OtherPrecision(6, 6), Shared(), case("tied")[0]])
def test_beyond_tracing_torch_exports(module: nn.Module) -> None:
    with pytest.raises(BeyondTracingError):
        traced_program(export.deployed_copy(module), (torch.ones(3, 6),), {})
    read = export.export_program(module, ROWS, ExportOptions(), share=True).program
    assert seen(read) == seen(exported(module, ROWS))


def test_a_branch_on_values_is_an_error_of_torch_s_own() -> None:
    with pytest.raises(Exception, match="_local_scalar_dense"):
        traced_program(Remembers(6, 6).eval(), (torch.ones(3, 6),), {})
    assert not hasattr(Remembers(6, 6), "last")


def test_what_is_recorded_shares_its_tensors_and_leaves_the_module_alone() -> None:
    module, batch = case("counting")
    module.train()
    before = bits(module), [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules()]
    program = export.export_program(module, batch, ExportOptions(), share=True).program
    assert all(value is program.state_dict[name] for name, value in module.named_parameters())
    assert before == (bits(module), [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()])


def test_reading_needs_no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would cost several times as much."""
    monkeypatch.setattr(torch.export, "export", None)
    assert export.export_program(products(), replace(ROWS), ExportOptions(), share=True).program.graph.nodes
    assert export.export_program(case("conv")[0], IMAGES, ExportOptions(), share=True).program.graph.nodes
