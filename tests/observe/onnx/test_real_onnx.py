"""Third-party models: they run, and what is returned equals whole tensors of plain onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from normdiag.graph import open_model
from normdiag.observe.onnx import OnnxRunner
from normdiag.observe.onnx.batch_rewrite import with_free_batch
from normdiag.records import Batch, ChannelSums, Model
from tests.nets.onnx.values import values_of
from tests.observe.onnx.helpers import moments

Real = Callable[[str], Path]
FILES = {
    "ultraface/version-slim-320.onnx": (25, 34),
    "ultraface/version-slim-320_simplified.onnx": (0, 34),
    "gtcrn/stream_onnx_models_gtcrn_simple.onnx": (15, 7),
    "magika/standard_v3_3.onnx": (2, 2),
    "magika/dense_v4_top_20230910.onnx": (2, 3),
    "basic_pitch/nmp.onnx": (0, 6),
}


def random_batch(model: Model, samples: int) -> Batch:
    rng = np.random.default_rng(0)
    arrays = []
    for each in model.inputs:
        assert each.shape is not None
        shape = tuple(samples if d is None else d for d in each.shape)
        integers = each.dtype.startswith("int")
        arrays.append(rng.integers(0, 256, shape).astype(each.dtype) if integers else rng.standard_normal(shape))
    return Batch(tuple(arrays), tuple(each.name for each in model.inputs))


@pytest.mark.parametrize("name", FILES)
def test_runs_with_all_its_layers_watched(name: str, real: Real) -> None:
    model = open_model(real(name))
    run = OnnxRunner(model)
    evidence = run.observe(random_batch(model, 2))
    layers, activations = FILES[name]
    assert (len(evidence.layers), len(evidence.activations)) == (layers, activations)
    assert list(evidence.layers) == [layer.name for layer in run.layers()]
    for layer in evidence.layers.values():
        assert layer.calls == 1 and (layer.deployed or layer.groups)


def test_ultraface_is_freed_of_its_batch_of_one_and_agrees_with_one_by_one(real: Real) -> None:
    path = real("ultraface/version-slim-320.onnx")
    model = open_model(path)
    run = OnnxRunner(model)
    assert run.fixed_batch is None
    x = np.random.default_rng(0).standard_normal((3, 3, 240, 320)).astype(np.float32)
    evidence = run.observe(Batch((x,)))
    assert evidence.gap_samples == 3
    names = [site.input for site in model.program.sites]
    parts = [values_of(path, names, {"input": x[i : i + 1]}) for i in range(3)]
    for site in model.program.sites:
        whole = np.concatenate([part[site.input] for part in parts])
        assert site.layer.running_mean is not None
        expected = ChannelSums.of(*moments(whole, site.layer.running_mean))
        sums = evidence.layers[site.layer.name].deployed
        scale = np.sqrt(expected.q / 3)
        np.testing.assert_array_less(np.abs(sums.m - expected.m) / 3, 1e-5 * scale + 1e-30)
        np.testing.assert_allclose(sums.q, expected.q, rtol=1e-5, atol=1e-9 * (site.layer.eps or 0))


def test_sums_of_the_batch_pass_equal_whole_tensors_of_its_own_graph(real: Real, tmp_path: Path) -> None:
    """Local drift: what BatchNorm reads when every one before it uses its batch, written out in float64."""
    path = real("ultraface/version-slim-320.onnx")
    model = open_model(path)
    x = np.random.default_rng(0).standard_normal((2, 3, 240, 320)).astype(np.float32)
    evidence = OnnxRunner(model).observe(Batch((x,)))
    graph = in_double_with_batch_statistics(with_free_batch(onnx.load(path), {"input": 0}, 1))
    onnx.save(graph, tmp_path / "batch.onnx")
    names = [site.input for site in model.program.sites]
    whole = values_of(tmp_path / "batch.onnx", names, {"input": x})
    for site in model.program.sites:
        layer = site.layer
        assert layer.running_mean is not None and layer.running_var is not None and layer.eps is not None
        expected = ChannelSums.of(*moments(whole[site.input], layer.running_mean))
        own = evidence.layers[layer.name].own
        assert rms_drift(own, layer.running_var, layer.eps) == pytest.approx(
            rms_drift(expected, layer.running_var, layer.eps), rel=1e-5
        )


def rms_drift(sums: ChannelSums, var: np.ndarray, eps: float) -> float:
    deviation = np.sqrt(var.astype(np.float64) + eps)
    mean, square = sums.m / sums.count, sums.q / sums.count
    ratio = np.sqrt(np.maximum(square - mean**2, 0) + eps) / deviation
    return float(np.sqrt(np.mean((mean / deviation) ** 2 + (ratio - 1) ** 2)))


def in_double_with_batch_statistics(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every BatchNormalization written out from elementary operators in float64."""
    nodes = []
    for node in model.graph.node:
        nodes += _written_out(node) if node.op_type == "BatchNormalization" else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _written_out(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    (x, gamma, beta), y = node.input[:3], node.output[0]
    make = onnx.helper.make_node
    epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
    constants = {"eps": np.float64(epsilon), "shape": np.array([1, -1, 1, 1])}
    made = [
        make("Constant", [], [f"{y}.{n}"], value=onnx.numpy_helper.from_array(np.asarray(v)))
        for n, v in constants.items()
    ]
    steps = [
        ("Cast", [x], "x", {"to": 11}),
        ("ReduceMean", [f"{y}.x"], "mu", {"axes": [0, 2, 3]}),
        ("Sub", [f"{y}.x", f"{y}.mu"], "centered", {}),
        ("Mul", [f"{y}.centered", f"{y}.centered"], "squared", {}),
        ("ReduceMean", [f"{y}.squared"], "var", {"axes": [0, 2, 3]}),
        ("Add", [f"{y}.var", f"{y}.eps"], "safe", {}),
        ("Sqrt", [f"{y}.safe"], "deviation", {}),
        ("Div", [f"{y}.centered", f"{y}.deviation"], "normal", {}),
        ("Cast", [gamma], "g", {"to": 11}),
        ("Cast", [beta], "b", {"to": 11}),
        ("Reshape", [f"{y}.g", f"{y}.shape"], "gamma", {}),
        ("Reshape", [f"{y}.b", f"{y}.shape"], "beta", {}),
        ("Mul", [f"{y}.normal", f"{y}.gamma"], "scaled", {}),
        ("Add", [f"{y}.scaled", f"{y}.beta"], "wide", {}),
    ]
    made += [make(op, inputs, [f"{y}.{name}"], **attributes) for op, inputs, name, attributes in steps]
    return [*made, make("Cast", [f"{y}.wide"], [y], to=1)]
