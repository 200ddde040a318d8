"""Sessions and onnxruntime's optimizers: which of them run, and what if they stand in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import normdiag
from normdiag.errors import InputError
from normdiag.observe.onnx import session
from tests.nets.onnx.nodes import batch_norm, norm_weights, write

X = np.random.default_rng(0).normal(size=(20, 3, 5)).astype(np.float32)


def test_what_fails_with_optimizations_runs_without_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [batch_norm("x", "y")], {"x": ["n", 3, 5]}, ["y"], norm_weights(3))
    expected, plain = normdiag.inspect(path, X), onnxruntime.InferenceSession

    def refusing(model: bytes, options: Any, **given: Any) -> Any:
        if options.graph_optimization_level != onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : an optimizer failed")
        return plain(model, options, **given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refusing)
    found = normdiag.inspect(path, X)
    drift, same = found.layers[0].drift, expected.layers[0].drift
    assert drift is not None and same is not None and drift.rms == pytest.approx(same.rms, rel=1e-6)
    said = [note for note in found.notes if "optimizations off" in note]
    assert said == [
        "run with onnxruntime's optimizations off, since with them it refused the model: an optimizer failed"
    ]


def test_a_model_that_runs_in_neither_way_is_refused_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [batch_norm("x", "y")], {"x": ["n", 3, 5]}, ["y"], norm_weights(3))

    def refusing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refusing)
    with pytest.raises(InputError, match="cannot run this model: no"):
        normdiag.inspect(path, X)


def test_a_size_that_the_model_leaves_open_and_its_inside_does_not_is_named(tmp_path: Path) -> None:
    """As recordings of a second are to a model that takes windows of half of one."""
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    weights = {"b": np.ones(512, np.float32)}
    path = write(tmp_path, nodes, {"x": ["n", "length"]}, ["y"], weights)
    with pytest.raises(InputError, match="the size of 'x' open, which was 800 in this data") as caught:
        normdiag.inspect(path, np.zeros((4, 800), np.float32))
    assert "--input-shape, as x=512" in str(caught.value) and "\n" not in str(caught.value)
    fixed = write(tmp_path, nodes, {"x": ["n", 800]}, ["y"], weights)
    with pytest.raises(InputError) as other:
        normdiag.inspect(fixed, np.zeros((4, 800), np.float32))
    assert "--input-shape" not in str(other.value)


def test_small_data_alone_has_convolutions_in_another_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), batch_norm("c", "b"), helper.make_node("Relu", ["b"], ["y"])]
    random, plain = np.random.default_rng(0), onnxruntime.InferenceSession
    weights = {"w": random.normal(size=(32, 3, 3, 3)).astype(np.float32), **norm_weights(32)}
    path = write(tmp_path, nodes, {"x": ["n", 3, "h", "w"]}, ["y"], weights)
    small, large = (random.normal(size=(4, 3, size, size)).astype(np.float32) for size in (16, 128))
    assert small.nbytes <= session.LITTLE < large.nbytes
    left_out: list[list[str]] = []

    def seen(model: bytes, options: Any, **given: Any) -> Any:
        if options.graph_optimization_level != onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL:
            left_out.append(given["disabled_optimizers"])
        return plain(model, options, **given)

    def drift(*batches: Any) -> float:
        left_out.clear()
        found = normdiag.inspect(path, list(batches)).layers[0].drift
        assert found is not None and found.rms is not None
        return found.rms

    monkeypatch.setattr(onnxruntime, "InferenceSession", seen)
    drift(large)
    assert left_out and all(left_out)
    by_size = drift(small, large)
    assert left_out[0] == [] and all(left_out[-2:])  # made anew for the larger data, in both passes
    drift(small)
    assert left_out[:2] == [[], []]
    monkeypatch.setattr(session, "LITTLE", 0)
    assert drift(small, large) == pytest.approx(by_size, rel=1e-6)
    assert all(left_out)
