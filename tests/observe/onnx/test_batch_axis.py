"""Fixed batch dimensions: made free where that is right, kept and said where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from normdiag.errors import InputError
from normdiag.records import Batch
from tests.nets.onnx.nodes import batch_norm, norm_weights, write
from tests.nets.onnx.values import values_of
from tests.observe.onnx.helpers import runner

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
    """A constant token of one sample is put before the tokens."""
    nodes = [batch_norm("x", "a"), helper.make_node("Concat", ["token", "a"], ["y"], axis=2)]
    weights = norm_weights(4) | {"token": np.zeros((1, 4, 1, 5), np.float32)}
    return write(folder, nodes, {"x": [1, 4, 5, 5]}, ["y"], weights)


@pytest.mark.parametrize(("shape", "batch"), [([1, 100], 1), ([1, -1], 1), ([-1, 100], 1), ([2, 100], 2), ([0, -1], 3)])
def test_reshapes_follow_the_freed_batch(shape: list[int], batch: int, tmp_path: Path) -> None:
    path = flattened(tmp_path, shape, batch)
    run = runner(path)
    assert run.fixed_batch is None and not run.notes
    parts = [values_of(path, ["y"], {"x": X[i : i + batch]})["y"] for i in range(0, 6, batch)]
    np.testing.assert_allclose(run.outputs(Batch((X,)))["y"], np.concatenate(parts), rtol=1e-5, atol=1e-5)
    assert run.observe(Batch((X,))).gap_samples == 6


def test_stale_shapes_in_the_file_do_not_matter(tmp_path: Path) -> None:
    path = flattened(tmp_path, [1, 100])
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), path)
    assert runner(path).observe(Batch((X,))).batch_size == 6


def mixing(folder: Path) -> Path:
    """Samples of a batch meet in a sum over it: what is one of them, and what is a batch, nobody can say."""
    nodes = [
        batch_norm("x", "a"),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["a", "m"], ["y"]),
    ]
    return write(folder, nodes, {"x": [1, 4, 5, 5]}, ["y"], norm_weights(4))


def attending(folder: Path, batch: int) -> Path:
    """What torch's nn.MultiheadAttention is exported as: (L, N, C) to (N * heads, L, c), and back over (L * N, C)."""
    length, heads, width = 3, 2, 4
    shapes = {
        "split": [length, batch * heads, width // heads],
        "merged": [length * batch, width],
        "back": [length, batch, width],
    }
    nodes = [
        helper.make_node(
            "Transpose",
            [
                "x",
            ],
            ["t"],
            perm=[1, 0, 2],
        ),
        helper.make_node("Reshape", ["t", "split"], ["s"]),
        helper.make_node("Transpose", ["s"], ["q"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["s"], ["k"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "q"], ["o"]),
        helper.make_node("Transpose", ["o"], ["ot"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["ot", "merged"], ["m"]),
        helper.make_node("Gemm", ["m", "w"], ["g"]),
        helper.make_node("Reshape", ["g", "back"], ["b"]),
        helper.make_node("Transpose", ["b"], ["y"], perm=[1, 0, 2]),
    ]
    weights = {name: np.array(shape) for name, shape in shapes.items()}
    weights["w"] = np.random.default_rng(2).normal(size=(width, width)).astype(np.float32)
    return write(folder, nodes, {"x": [batch, length, width]}, ["y"], weights)


def windows(folder: Path, batch: int) -> Path:
    """Swin's: an image cut into windows that go into the batch, a mask by window, and back; a token before the rest."""
    shapes = {
        "cut": [batch, 2, 2, 2, 2, 3],
        "rows": [batch * 4, 4, 3],
        "by_window": [batch, 4, 4, 3],
        "grid": [batch, 2, 2, 2, 2, 3],
        "image": [batch, 16, 3],
    }
    nodes = [
        helper.make_node("Reshape", ["x", "cut"], ["c"]),
        helper.make_node("Transpose", ["c"], ["ct"], perm=[0, 1, 3, 2, 4, 5]),
        helper.make_node("Reshape", ["ct", "rows"], ["r"]),
        helper.make_node("Softmax", ["r"], ["p"], axis=1),
        helper.make_node("Reshape", ["p", "by_window"], ["v"]),
        helper.make_node("Add", ["v", "mask"], ["m"]),
        helper.make_node("Reshape", ["m", "grid"], ["g"]),
        helper.make_node("Transpose", ["g"], ["gt"], perm=[0, 1, 3, 2, 4, 5]),
        helper.make_node("Reshape", ["gt", "image"], ["i"]),
        helper.make_node("Concat", ["token", "i"], ["y"], axis=1),
    ]
    rng = np.random.default_rng(3)
    weights = {name: np.array(shape) for name, shape in shapes.items()}
    weights["mask"] = rng.normal(size=(1, 4, 4, 3)).astype(np.float32)
    weights["token"] = np.repeat(rng.normal(size=(1, 1, 3)).astype(np.float32), batch, 0)
    return write(folder, nodes, {"x": [batch, 16, 3]}, ["y"], weights)


def recurrent(folder: Path, batch: int) -> Path:
    """A GRU with a constant first state, and a resize to constant sizes before it."""
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Resize", ["x", "", "", "sizes"], ["r"], mode="nearest"),
        helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "u", "", "", "h0"], ["s", "last"], hidden_size=5),
        helper.make_node("Squeeze", ["last", "zero"], ["y"]),
    ]
    weights: dict[str, np.ndarray] = {"sizes": np.array([batch, 6, 4]), "zero": np.array([0])}
    weights |= {
        "w": rng.normal(size=(1, 15, 4)).astype(np.float32),
        "u": rng.normal(size=(1, 15, 5)).astype(np.float32),
    }
    weights["h0"] = np.full((1, batch, 5), 0.5, np.float32)
    return write(folder, nodes, {"x": [batch, 3, 4]}, ["y"], weights)


def computed(folder: Path, batch: int) -> Path:
    """Shapes put together while the graph runs: the number of samples as a constant, the rest from the input."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "rest"], ["others"], axis=0),
        helper.make_node("Concat", ["number", "halves", "others"], ["shape"], axis=0),
        helper.make_node("Mul", ["x", "two"], ["d"]),
        helper.make_node("Concat", ["d", "x"], ["c"], axis=1),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        helper.make_node("Concat", ["number", "halves", "other", "other"], ["wide"], axis=0),
        helper.make_node("Expand", ["token", "wide"], ["t"]),
        helper.make_node("Concat", ["t", "r"], ["y"], axis=2),
    ]
    weights: dict[str, np.ndarray] = {"number": np.array([batch]), "halves": np.array([2]), "other": np.array([4])}
    weights |= {"rest": np.array([1, 2]), "two": np.array(2, np.float32), "token": np.full((4,), 3, np.float32)}
    return write(folder, nodes, {"x": [batch, 3, 4]}, ["y"], weights)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("build", [attending, windows, recurrent, computed])
def test_constants_that_hold_the_number_of_samples_follow_it(
    build: Callable[[Path, int], Path], batch: int, tmp_path: Path
) -> None:
    path = build(tmp_path, batch)
    run = runner(path)
    assert run.fixed_batch is None and not run.notes
    shape = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).normal(size=(6, *shape[1:])).astype(np.float32)
    parts = [values_of(path, ["y"], {"x": x[i : i + batch]})["y"] for i in range(0, 6, batch)]
    np.testing.assert_allclose(run.outputs(Batch((x,)))["y"], np.concatenate(parts), rtol=1e-5, atol=1e-5)


def test_a_constant_token_goes_before_every_sample(tmp_path: Path) -> None:
    path = with_token(tmp_path)
    run = runner(path)
    parts = [values_of(path, ["y"], {"x": X[i : i + 1]})["y"] for i in range(6)]
    np.testing.assert_allclose(run.outputs(Batch((X,)))["y"], np.concatenate(parts), rtol=1e-5, atol=1e-5)


def test_a_batch_that_cannot_be_freed_is_kept_and_said(tmp_path: Path) -> None:
    run = runner(mixing(tmp_path))
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
