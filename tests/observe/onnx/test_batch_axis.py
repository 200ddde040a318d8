"""Fixed batch dimensions: made free where that is right, kept and said where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from normdiag.errors import InputError
from normdiag.records import Batch
from tests.observe.onnx.graphs import batch_norm, norm_weights, runner, values, write

X = np.random.default_rng(0).normal(size=(6, 4, 5, 5)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)


def flattened(folder: Path, shape: list[int], batch: int = 1) -> Path:
    """BatchNorm, a reshape to a constant shape, a linear layer."""
    nodes = [
        batch_norm("x", "a"),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    weights = norm_weights(4) | {"shape": np.array(shape), "w": WEIGHT}
    return write(folder, nodes, {"x": [batch, 4, 5, 5]}, ["y"], weights)


def with_token(folder: Path) -> Path:
    """A constant token of one sample is put before the tokens: no other batch size can run."""
    nodes = [batch_norm("x", "a"), helper.make_node("Concat", ["token", "a"], ["y"], axis=2)]
    weights = norm_weights(4) | {"token": np.zeros((1, 4, 1, 5), np.float32)}
    return write(folder, nodes, {"x": [1, 4, 5, 5]}, ["y"], weights)


@pytest.mark.parametrize(("shape", "batch"), [([1, 100], 1), ([1, -1], 1), ([-1, 100], 1), ([2, 100], 2), ([0, -1], 3)])
def test_reshapes_follow_the_freed_batch(shape: list[int], batch: int, tmp_path: Path) -> None:
    path = flattened(tmp_path, shape, batch)
    run = runner(path)
    assert run.fixed_batch is None and not run.notes
    parts = [values(path, ["y"], {"x": X[i : i + batch]})["y"] for i in range(0, 6, batch)]
    np.testing.assert_allclose(run.outputs(Batch((X,)))["y"], np.concatenate(parts), rtol=1e-5, atol=1e-5)
    assert run.observe(Batch((X,))).gap_samples == 6


def test_stale_shapes_in_the_file_do_not_matter(tmp_path: Path) -> None:
    path = flattened(tmp_path, [1, 100])
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), path)
    assert runner(path).observe(Batch((X,))).batch_size == 6


def test_a_batch_that_cannot_be_freed_is_kept_and_said(tmp_path: Path) -> None:
    run = runner(with_token(tmp_path))
    assert run.fixed_batch == 1
    assert any("fixed at 1" in note and "gap" in note for note in run.notes)
    evidence = run.observe(Batch((X[:1],)))
    assert evidence.gap_samples == 0 and evidence.layers["bn"].own is None
    with pytest.raises(InputError, match=r"wants the shape \(1, 4, 5, 5\), the data gives \(6, 4, 5, 5\)"):
        run.observe(Batch((X,)))


def test_a_reshape_that_mixes_samples_is_found_out(tmp_path: Path) -> None:
    """(1, 4, 5, 5) -> (4, 25) runs at any size, but what it calls rows are no samples; here it is summed away."""
    nodes = [
        batch_norm("x", "a"),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("ReduceMean", ["b"], ["y"], axes=[0]),
    ]
    weights = norm_weights(4) | {"shape": np.array([-1, 25])}
    run = runner(write(tmp_path, nodes, {"x": [1, 4, 5, 5]}, ["y"], weights))
    assert run.fixed_batch == 1


def test_a_fixed_batch_of_several_still_has_batch_statistics(tmp_path: Path) -> None:
    nodes = [batch_norm("x", "a"), helper.make_node("Add", ["a", "offset"], ["y"])]
    weights = norm_weights(4) | {"offset": np.arange(600, dtype=np.float32).reshape(6, 4, 5, 5)}
    run = runner(write(tmp_path, nodes, {"x": [6, 4, 5, 5]}, ["y"], weights))
    assert run.fixed_batch == 6
    assert run.observe(Batch((X,))).gap_samples == 6


def test_inputs_that_share_no_batch_run_as_declared(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["state"], ["s"], keepdims=0), helper.make_node("Add", ["x", "s"], ["a"])]
    path = write(tmp_path, [*nodes, batch_norm("a", "y")], {"x": [1, 4, 5, 5], "state": [2, 3]}, ["y"], norm_weights(4))
    run = runner(path)
    assert run.fixed_batch == 1
    assert any("state (2, 3)" in note for note in run.notes)
    state = np.ones((2, 3), np.float32)
    evidence = run.observe(Batch((X[:1], state), ("x", "state")))
    np.testing.assert_allclose(
        evidence.layers["bn"].deployed.m, X[0].mean((1, 2)) + 6 - norm_weights(4)["bn.mean"], rtol=1e-5
    )


def test_training_mode_keeps_its_batch(tmp_path: Path) -> None:
    """Its samples depend on each other, so a larger batch would be another model."""
    path = write(tmp_path, [batch_norm("x", "y", training_mode=1)], {"x": [2, 4, 5, 5]}, ["y"], norm_weights(4))
    assert runner(path).fixed_batch == 2
