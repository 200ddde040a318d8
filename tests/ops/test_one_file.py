"""A new activation is one file: put into a copy of the package, it is known in both backends and in both graphs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import normdiag

FILE = '''
"""CELU: x where positive, else alpha (e^(x / alpha) - 1)."""

import numpy as np

from normdiag.ops.activation import Activation
from normdiag.ops.function import Function, Operator, TorchNames

FUNCTION = Function(
    "celu",
    value=lambda f, x: np.where(x > 0, x, f.alpha * np.expm1(np.minimum(x, 0) / f.alpha)),
    derivative=lambda f, x: np.exp(np.minimum(x, 0) / f.alpha),
    torch=(TorchNames(("celu",), lambda alpha=1.0, *_, **__: Activation("celu", alpha), modules=("CELU",)),),
    onnx=(Operator("Celu", lambda node: Activation("celu", node.number("alpha", 1.0))),),
)
'''
PROGRAM = """
import numpy as np, onnx, torch
from onnx import helper
import normdiag
from normdiag.graph import graph_of, open_model
from normdiag.graph.importers.torch_export.build import torch_graph

x = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
x[:, 2] = -40
slopes = np.exp(np.minimum(x.astype(np.float64), 0) / 2)
share = np.mean(slopes < 0.0706508)
net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.CELU(2.0)).eval()

graph = helper.make_graph(
    [helper.make_node("Celu", ["x"], ["y"], name="f", alpha=2.0)], "g",
    [helper.make_tensor_value_info("x", 1, ["n", 4])], [helper.make_tensor_value_info("y", 1, ["n", 4])],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")

for model in (net, "m.onnx"):
    (seen,) = normdiag.inspect(model, x).activations
    assert (seen.kind, seen.dead_units) == ("celu", 1), seen
    assert abs(seen.saturated_fraction - share) < 1e-9, seen
    np.testing.assert_allclose(seen.mean_squared_derivative, (slopes**2).mean(), rtol=1e-5)

exported = torch.export.export(net, (torch.from_numpy(x),))
for graph in (graph_of(open_model("m.onnx")), torch_graph(exported)):
    (function,) = [op.detail.function for op in graph.ops if getattr(op.detail, "function", None) is not None]
    assert (function.kind, function.alpha) == ("celu", 2.0)
"""


def test_a_new_activation_is_one_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = Path(normdiag.__file__).parent
    shutil.copytree(package, tmp_path / "normdiag", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "normdiag" / "ops" / "celu.py").write_text(FILE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
