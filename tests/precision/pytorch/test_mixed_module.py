"""The module in half precision, against the same made half by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import normdiag
from normdiag.errors import InputError
from normdiag.graph import open_model
from normdiag.metrics.half_norms import in_half
from normdiag.observe.pytorch import TorchRunner
from normdiag.precision.plan import output_error
from normdiag.precision.pytorch import MixedModule
from normdiag.records import Batch
from tests.nets.net import Net
from tests.precision.transformer import RMSNorm, Stubborn, Transformer, inputs

NOTHING = frozenset[str]()


def mixed(module: nn.Module, target: Any = "fp16", x: np.ndarray | None = None) -> MixedModule:
    model = open_model(module)
    runner = TorchRunner(model)
    runner.run(Batch((inputs(4) if x is None else x,)))
    return MixedModule(model, runner, target)


@pytest.mark.parametrize("target", ["fp16", "bf16"])
def test_with_nothing_kept_and_own_kernels_it_is_the_module_in_half(target: Any) -> None:
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[target]
    model, x = Transformer(nn.LayerNorm), inputs(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = mixed(model, target).run(Batch((x,)), NOTHING, stored_sums=False)["output"]
    with torch.no_grad():
        wanted = copy.deepcopy(model).to(dtype)(torch.from_numpy(x).to(dtype))
    np.testing.assert_array_equal(made.astype(np.float32), wanted.float().numpy())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.float32


def test_a_kept_norm_computes_in_float32_with_the_weights_it_had() -> None:
    net, x = (
        Net(lambda s, x: s.norm(x), norm=RMSNorm(16)),
        (np.random.default_rng(0).normal(size=(4, 16)) * 1e3).astype(np.float32),
    )
    model = mixed(net, x=x)
    made = model.run(Batch((x,)), frozenset({"norm"}), stored_sums=True)["output"]
    with torch.no_grad():
        wanted = net(torch.from_numpy(x).half().float()).half().numpy()
    np.testing.assert_array_equal(made, wanted)
    assert np.abs(model.run(Batch((x,)), NOTHING, stored_sums=True)["output"]).max() < 0.1  # squares overflow: zeros
    again = model.run(Batch((x,)), frozenset({"norm"}), stored_sums=True)["output"]
    np.testing.assert_array_equal(made, again)  # and nothing of the other run is left


class Functional(nn.Module):
    """Norms that are no modules, and of all kinds."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.weight, self.bias = kind, nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer_norm":
            return F.layer_norm(x, (8,), self.weight, self.bias, 1e-5)
        if self.kind == "rms_norm":
            return F.rms_norm(x, (8,), self.weight, 1e-5)
        if self.kind == "group_norm":
            return F.group_norm(x, 2, self.weight, self.bias, 1e-5)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=1e-5)


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm", "group_norm", "instance_norm"])
def test_a_functional_norm_stores_its_sums_or_stays_in_float32(kind: str) -> None:
    shape = (3, 5, 8) if kind in ("layer_norm", "rms_norm") else (3, 8, 20)
    x = np.clip(np.random.default_rng(1).normal(size=shape) * 200, -250, 250).astype(np.float16).astype(np.float32)
    net = Functional(kind)
    model, batch = mixed(net, x=x), Batch((x,))
    (name,) = model.norms
    with torch.no_grad():
        exact = net(torch.from_numpy(x)).numpy()
    kept = model.run(batch, frozenset({name}), stored_sums=True)["output"]
    own = model.run(batch, NOTHING, stored_sums=False)["output"]
    for made in (kept, own):
        assert np.linalg.norm(made - exact) < 2e-3 * np.linalg.norm(exact)
    rows = {"instance_norm": 24, "group_norm": 6}.get(kind, 15)
    y = in_half(x.reshape(rows, -1), "rms_norm" if kind == "rms_norm" else "layer_norm", 1e-5, "pairwise", "fp16")
    weight, bias = (p.detach().numpy().reshape((8,) if shape[2] == 8 else (8, 1)) for p in (net.weight, net.bias))
    wanted = y.reshape(shape) * weight + (0 if kind == "rms_norm" else bias)
    made = model.run(batch, NOTHING, stored_sums=True)["output"].astype(np.float64)
    assert np.linalg.norm(made - wanted) < 3e-3 * np.linalg.norm(wanted) + 1e-2
    assert np.linalg.norm(made - exact) > 0.3 * np.linalg.norm(exact)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_look_alike_stores_its_sums_where_its_code_is_the_formula(offset: float) -> None:
    """4 x 16 values of 100: no square overflows, and its code adds up in float32, but the sum does not fit.

    With an offset of 1 the weight is stored as the Gemmas store it.
    """

    class LlamaRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = nn.Parameter(torch.ones(16) - offset), 1e-6

        def forward(self, x: Tensor) -> Tensor:
            wide = x.to(torch.float32)
            y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
            return (offset + self.weight) * y.to(x.dtype)

    net, x = nn.Sequential(LlamaRMSNorm()), np.full((4, 16), 100.0, np.float32)
    model = mixed(net, x=x)
    np.testing.assert_array_equal(model.run(Batch((x,)), NOTHING, stored_sums=False)["output"], 1.0)
    np.testing.assert_array_equal(model.run(Batch((x,)), NOTHING, stored_sums=True)["output"], 0.0)


def test_weights_in_half_precision_are_told_to_come_in_float32() -> None:
    module = Transformer(nn.LayerNorm).half()
    model = open_model(module)
    with pytest.raises(InputError, match="half precision already"):
        MixedModule(model, TorchRunner(model), "fp16")


def test_a_module_that_cannot_run_in_half_says_so() -> None:
    x = np.zeros((2, 8), np.float32)
    with pytest.raises(InputError, match="the model failed"):
        mixed(Stubborn(), x=x).run(Batch((x,)), NOTHING, stored_sums=False)


def test_the_code_of_the_docs_makes_a_healthy_model_of_the_plan() -> None:
    model, x = Transformer(RMSNorm, 1000.0), inputs(4)
    with torch.no_grad():
        exact = model(torch.from_numpy(x)).numpy()
    plan = normdiag.inspect(model, x, target="fp16").half.plan  # type: ignore[union-attr]
    assert plan is not None
    page = (Path(__file__).parents[3] / "docs" / "half-precision.md").read_text(encoding="utf-8")
    code = next(block.split("```")[0] for block in page.split("```python")[1:] if "keep_in_float32" in block)
    made: dict[str, Any] = {}
    exec(code, made)
    with torch.no_grad():
        mixed_model = made["keep_in_float32"](model, [each.layer for each in plan.kept])
        got = mixed_model(torch.from_numpy(x).half()).float().numpy()
    assert output_error({"y": exact}, {"y": got}) < 2 * plan.planned
