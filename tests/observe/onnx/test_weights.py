"""Kernels that all sessions of a model share, and what a whole run takes of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from normdiag.models.onnx.external import TensorReader
from normdiag.observe.onnx.session import Session, Setting
from normdiag.observe.onnx.weights import kernels, split_weights
from tests.nets.onnx.nodes import from_nodes, write
from tests.nets.onnx.values import outputs_of

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_normal((16, 8, 3, 3)).astype(np.float32)
SCALE = RANDOM.uniform(0.5, 2.0, 16).astype(np.float32)


def conv_and(*tail: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution x -> c and what comes after it, up to y."""
    nodes = [helper.make_node("Conv", ["x", "W"], ["c"], pads=[1, 1, 1, 1]), *tail]
    weights = {"W": KERNEL, "per_channel": SCALE, "as_map": SCALE.reshape(16, 1, 1)}
    return from_nodes(nodes, {"x": ["n", 8, 6, 6]}, ["y"], weights)


AFTER = {
    "scale": [helper.make_node("Mul", ["c", "as_map"], ["y"])],
    "shift": [helper.make_node("Add", ["c", "as_map"], ["y"])],
    "norm": [helper.make_node("BatchNormalization", ["c", *["per_channel"] * 4], ["y"])],
    "scale and relu": [helper.make_node("Mul", ["c", "as_map"], ["d"]), helper.make_node("Relu", ["d"], ["y"])],
    "transpose": [
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Mul", ["t", "per_channel"], ["y"]),
    ],
}


@pytest.mark.parametrize("after", AFTER)
def test_optimizers_that_change_a_kernel_leave_the_shared_one_alone(after: str) -> None:
    """onnxruntime fuses these into the convolution; a kernel replaced under its own name would be lost."""
    whole, x = conv_and(*AFTER[after]), RANDOM.standard_normal((3, 8, 6, 6)).astype(np.float32)
    skeleton = split_weights(whole, TensorReader(whole, Path()))
    assert kernels(skeleton.proto.graph) & skeleton.weights.keys() == {"W"}
    setting = Setting(Path(), "the model", skeleton.weights)
    expected = outputs_of(whole, {"x": x})["y"]
    for _ in range(2):  # the second session gets the same memory
        found = Session(skeleton.proto, setting).run(["y"], {"x": x})["y"]
        assert np.allclose(found, expected, atol=1e-4)


def test_kernels_are_read_by_convolutions_alone() -> None:
    """A reader of the sizes does no harm, a reader of the values does, in a branch as well."""
    shape, mul = helper.make_node("Shape", ["W"], ["s"]), helper.make_node("Mul", ["W", "W"], ["y"])
    assert kernels(conv_and(shape).graph) == {"W"}
    assert kernels(conv_and(mul).graph) == set()
    branch = helper.make_graph([helper.make_node("Identity", ["W"], ["z"])], "b", [], [])
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert kernels(conv_and(choice).graph) == set()


def test_large_maps_are_dropped_once_they_are_summed(tmp_path: Path) -> None:
    """Five maps of 64 MB: a plain run holds two at a time, and ours one more while it counts."""
    pytest.importorskip("resource")
    nodes, weights = [], {}
    for i in range(5):
        weights[f"w{i}"] = RANDOM.standard_normal((16, 1 if i == 0 else 16, 1, 1)).astype(np.float32)
        nodes.append(helper.make_node("Conv", [f"r{i}" if i else "x", f"w{i}"], [f"c{i}"]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["r5"], ["y"]))
    path = write(tmp_path, nodes, {"x": ["n", 1, 512, 512]}, ["y"], weights)
    ask = "from benchmarks.memory import peaks; import sys; f = peaks(sys.argv[1], 4, 2); print(f.inspect - f.plain)"
    done = subprocess.run([sys.executable, "-c", ask, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 170
