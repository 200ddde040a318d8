"""ONNX files after recalibration: the statistics are new, everything else is as it was, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from torch import nn

import normdiag
from normdiag import RecalibrateOptions
from normdiag.errors import InputError, UsageError
from tests.nets.exported import onnx_file
from tests.nets.onnx.nodes import from_nodes

STATISTICS = ("mean", "var")
RNG = np.random.default_rng(0)
BATCHES = [(3.0 * RNG.standard_normal((40, 3, 6, 6)) + 1.0).astype(np.float32) for _ in range(3)]
ALL = RecalibrateOptions(holdout=0.0)


def norm(x: str, y: str, *, mean: str = "mean", var: str = "var", gamma: str = "gamma", **attributes: Any) -> Any:
    outputs = [y] if not attributes.get("training_mode") else [y, f"{y}_mean", f"{y}_var"]
    return helper.make_node("BatchNormalization", [x, gamma, "beta", mean, var], outputs, name=y, **attributes)


def normed(nodes: list[Any], dtype: str = "float32", ir: int = 8, **more: Any) -> Any:
    """A model of such norms, and what else it stores."""
    stored = {"gamma": [1, 2, 3], "beta": [0, 1, 0], "mean": [0, 0, 0], "var": [1, 1, 1]}
    weights = {name: np.array(values, dtype) for name, values in stored.items()} | more
    return from_nodes(nodes, {"x": ["n", 3, 6, 6]}, ["y"], weights, dtype=dtype, ir=ir)


def recalibrated(path: Path, proto: Any, **options: Any) -> tuple[normdiag.RecalibrationReport, Any]:
    onnx.save(proto, path)
    dtype = helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type)
    given = RecalibrateOptions(holdout=0.0, **options)
    batches = [batch.astype(dtype) for batch in BATCHES]
    report = normdiag.recalibrate(path, batches, output=path.with_name("out.onnx"), options=given).report
    made = onnx.load(path.with_name("out.onnx"))
    onnx.checker.check_model(made, full_check=True)
    return report, made


def values(proto: Any) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


X = np.concatenate(BATCHES).transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)


@pytest.mark.parametrize("ir_version", [3, 9])
def test_nothing_but_the_statistics_changes(tmp_path: Path, ir_version: int) -> None:
    proto = normed([norm("x", "y")], ir=ir_version)
    proto.doc_string, proto.producer_name = "kept", "somebody"
    proto.graph.initializer[2].doc_string = "the mean"
    _, made = recalibrated(tmp_path / "m.onnx", proto)
    found = values(made)
    np.testing.assert_allclose(found["mean"], X.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found["var"], X.var(1, ddof=1), rtol=1e-5)
    for t in made.graph.initializer:
        if t.name in STATISTICS:
            t.raw_data = next(o.raw_data for o in proto.graph.initializer if o.name == t.name)
    assert made.SerializeToString() == proto.SerializeToString()
    old, new = (tmp_path / "m.onnx").read_bytes(), (tmp_path / "out.onnx").read_bytes()
    assert len(old) == len(new) and sum(a != b for a, b in zip(old, new, strict=True)) <= 24


def test_external_data(tmp_path: Path) -> None:
    big = RNG.standard_normal((100, 100)).astype(np.float32)
    proto = normed([norm("x", "y")], big=big)
    external_data_helper.convert_model_to_external_data(proto, location="m.data", size_threshold=0)
    report, made = recalibrated(tmp_path / "m.onnx", proto)
    assert any("must stay beside it" in note for note in report.notes)
    old, new = values(onnx.load(tmp_path / "m.onnx")), values(made)
    assert {name for name in old if not np.array_equal(old[name], new[name])} == set(STATISTICS)
    np.testing.assert_allclose(new["mean"], X.mean(1), rtol=1e-5)


def test_a_layer_that_runs_twice_has_one_pair_of_statistics(tmp_path: Path) -> None:
    proto = normed([norm("x", "a"), norm("a", "y")])
    report, made = recalibrated(tmp_path / "m.onnx", proto)
    assert len(values(made)) == 4 and len({each.drift for each in report.layers}) == 1
    assert [each.samples for each in report.layers] == [240, 240]
    first = (X - X.mean(1)[:, None]) / np.sqrt(X.var(1)[:, None] + 1e-5)
    second = first * np.array([[1], [2], [3]]) + np.array([[0], [1], [0]])
    np.testing.assert_allclose(values(made)["mean"], (X.mean(1) + second.mean(1)) / 2, rtol=1e-2, atol=1e-2)


def test_layers_that_only_happen_to_share_get_their_own(tmp_path: Path) -> None:
    """As optimizers leave them that merge equal initializers: both were never updated."""
    proto = normed([norm("x", "a"), norm("a", "y", gamma="gamma2")], gamma2=np.float32([2, 2, 2]))
    _, made = recalibrated(tmp_path / "m.onnx", proto)
    found = values(made)
    assert {"mean_recalibrated", "mean_recalibrated_1", "var_recalibrated", "var_recalibrated_1"} <= found.keys()
    np.testing.assert_allclose(found["mean_recalibrated"], X.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found["mean_recalibrated_1"], [0, 1, 0], atol=1e-2)


def test_a_constant_that_somebody_else_reads_stays(tmp_path: Path) -> None:
    nodes = [
        norm("x", "a"),
        helper.make_node("Reshape", ["mean", "shape"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    _, made = recalibrated(tmp_path / "m.onnx", normed(nodes, shape=np.array([1, 3, 1, 1])))
    assert (
        not values(made)["mean"].any()
        and "mean_recalibrated" in values(made)
        and "var_recalibrated" not in values(made)
    )


def test_constant_nodes_and_identities(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(np.zeros(3, np.float32))),
        helper.make_node("Identity", ["var"], ["v"]),
        norm("x", "y", mean="m", var="v"),
    ]
    _, made = recalibrated(tmp_path / "m.onnx", normed(nodes))
    np.testing.assert_allclose(values(made)["m_recalibrated"], X.mean(1), rtol=1e-5)
    np.testing.assert_allclose(values(made)["v_recalibrated"], X.var(1, ddof=1), rtol=1e-5)


def test_training_mode_with_right_statistics_keeps_them(tmp_path: Path) -> None:
    proto = normed([norm("x", "y", training_mode=1)])
    for t, value in ((proto.graph.initializer[2], X.mean(1)), (proto.graph.initializer[3], X.var(1) * 1.001)):
        t.raw_data = value.astype(np.float32).tobytes()
    report, made = recalibrated(tmp_path / "m.onnx", proto)
    assert report.outcome == "recalibrated"
    assert any("evaluation mode with the stored statistics" in note for note in report.notes)
    (node,) = made.graph.node
    assert list(node.output) == ["y"] and not any(each.name == "training_mode" for each in node.attribute)
    old = values(proto)
    assert all(np.array_equal(old[name], value) for name, value in values(made).items())


def test_training_mode_with_wrong_statistics_gets_measured_ones(tmp_path: Path) -> None:
    report, made = recalibrated(tmp_path / "m.onnx", normed([norm("x", "y", training_mode=1)]))
    assert any("evaluation mode with the measured statistics" in note for note in report.notes)
    np.testing.assert_allclose(values(made)["mean"], X.mean(1), rtol=1e-5)


def test_updated_statistics_that_the_model_reads(tmp_path: Path) -> None:
    proto = normed([norm("x", "y", training_mode=1)])
    proto.graph.output.append(helper.make_tensor_value_info("y_mean", TensorProto.FLOAT, [3]))
    onnx.save(proto, tmp_path / "m.onnx")
    report = normdiag.recalibrate(tmp_path / "m.onnx", BATCHES, options=ALL).report
    assert report.layers[0].kept == "it is in training mode, and the model reads the statistics that it updates"


def test_half_precision(tmp_path: Path) -> None:
    _, made = recalibrated(tmp_path / "m.onnx", normed([norm("x", "y")], dtype="float16"))
    assert values(made)["var"].dtype == np.float16
    np.testing.assert_allclose(values(made)["var"], X.var(1), rtol=2e-3)


def test_statistics_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    onnx.save(normed([norm("x", "y")], dtype="float16"), tmp_path / "m.onnx")
    batches = [(200 * batch).astype(np.float16) for batch in BATCHES]
    with pytest.raises(InputError, match=r"'y': 3\.\d+e\+05 does not fit into float16"):
        normdiag.recalibrate(tmp_path / "m.onnx", batches, output=tmp_path / "o.onnx", options=ALL)
    assert not (tmp_path / "o.onnx").exists()


def test_a_fixed_batch_of_one_needs_the_sequential_method(tmp_path: Path) -> None:
    second = norm("a", "b", mean="mean2", var="var2")
    nodes = [norm("x", "a"), second, helper.make_node("ReduceMax", ["b"], ["c"], axes=[0])]
    nodes.append(helper.make_node("Add", ["b", "c"], ["y"]))  # samples cannot run together
    proto = normed(nodes, mean2=np.zeros(3, np.float32), var2=np.ones(3, np.float32))
    for each in (proto.graph.input[0], proto.graph.output[0]):
        each.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"one at a time.*--method sequential"):
        normdiag.recalibrate(tmp_path / "m.onnx", BATCHES)
    found = normdiag.recalibrate(
        tmp_path / "m.onnx", BATCHES, options=RecalibrateOptions(method="sequential", holdout=0.0)
    )
    assert any("runs at a time, and no others: 1" in note for note in found.report.notes)
    np.testing.assert_allclose(found.statistics["b"].mean, [0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(found.statistics["b"].var, [1, 4, 9], rtol=1e-3)


@pytest.mark.exports
def test_a_norm_without_statistics_is_given_some(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    path = onnx_file(net, torch.zeros(4, 3, 6, 6), tmp_path / "m.onnx")
    result = normdiag.recalibrate(path, BATCHES, output=tmp_path / "o.onnx", options=ALL)
    with torch.no_grad():
        seen = torch.cat([net[0](torch.from_numpy(x)) for x in BATCHES]).double().movedim(1, 0).flatten(1)
    (found,) = result.statistics.values()
    np.testing.assert_allclose(found.mean, seen.mean(1).numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.var, seen.var(1).numpy(), rtol=1e-5)
    made = normdiag.inspect(tmp_path / "o.onnx", BATCHES)
    assert made.layers[0].layer.has_statistics and made.layers[0].drift is not None
    assert made.layers[0].drift.corrected < 0.01
