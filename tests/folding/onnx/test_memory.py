"""Folding models with external data by streaming: the peak of memory does not grow with the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, numpy_helper

from tests.folding.onnx.folded_files import same
from tests.nets.onnx.nodes import batch_norm, from_nodes, node, norm_weights, save

# Peak of a process that folds, and of one that only reads the plan.
FOLDER = """
import json, sys
from pathlib import Path
from normdiag.folding.onnx import OnnxFoldable
from normdiag.folding.checked import checked_plan
import onnx.helper, onnx.numpy_helper

def peak():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1])

before = peak()
foldable = OnnxFoldable(Path(sys.argv[1]))
plan = checked_plan(foldable.graph)
foldable.fold(plan).write(Path(sys.argv[2]))
print(json.dumps({"steps": len(plan.steps), "kib": peak() - before}))
"""


def chain(path: Path, layers: int, channels: int) -> Path:
    """1x1 convolutions in a row, each with a norm and a weight of channels^2 numbers in one file beside the model."""
    rng = np.random.default_rng(0)
    nodes, outside, norms, size = [], [], {}, 4 * channels * channels
    with path.with_suffix(".data").open("wb") as data:
        for i in range(layers):
            data.write(rng.standard_normal((channels, channels), np.float32) / np.float32(np.sqrt(channels)))
            weight = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=(channels, channels, 1, 1))
            weight.raw_data = b"-"  # set_external_data wants some
            external_data_helper.set_external_data(weight, path.with_suffix(".data").name, i * size, size)
            weight.ClearField("raw_data")
            outside.append(weight)
            norms |= norm_weights(channels, f"bn{i}")
            nodes += [
                node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], name=f"conv{i}"),
                batch_norm(f"c{i}", f"n{i}", f"bn{i}"),
                node("Relu", [f"n{i}"], [f"x{i + 1}"]),
            ]
    made = from_nodes(nodes, {"x0": ["N", channels, 1, 1]}, [f"x{layers}"], norms)
    made.graph.initializer.extend(outside)
    return save(made, path)


def peak(source: Path, target: Path) -> dict[str, int]:
    run = subprocess.run([sys.executable, "-c", FOLDER, source, target], capture_output=True, text=True, check=True)
    result: dict[str, int] = json.loads(run.stdout)
    return result


def test_peak_is_a_few_layers(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source, target = chain(tmp_path / "m.onnx", 16, 1024), tmp_path / "out" / "m.onnx"
    found = peak(source, target)
    assert found["steps"] == 16
    assert found["kib"] < 40 * 1024  # the model has 64 MiB, a layer 4
    same(source, target)


def test_peak_with_the_weights_in_the_model_file(tmp_path: Path) -> None:
    source, target = tmp_path / "inside.onnx", tmp_path / "folded.onnx"
    onnx.save(onnx.load(chain(tmp_path / "m.onnx", 16, 1024)), source)
    assert source.stat().st_size > 64 * 2**20
    found = peak(source, target)
    assert found["steps"] == 16
    assert found["kib"] < 40 * 1024
    same(source, target)


@pytest.mark.slow
def test_peak_of_a_large_model(tmp_path: Path) -> None:
    """600 MiB in layers of 16 MiB."""
    (tmp_path / "out").mkdir()
    source, target = chain(tmp_path / "m.onnx", 38, 2048), tmp_path / "out" / "m.onnx"
    found = peak(source, target)
    assert found["steps"] == 38
    assert found["kib"] < 300 * 1024
    folded = onnx.load(target)
    assert all(numpy_helper.to_array(t).shape for t in folded.graph.initializer)
