"""Data that fits, data that is made to fit, and data that is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from normdiag.errors import InputError
from normdiag.records import Batch
from tests.nets.onnx.nodes import batch_norm, norm_weights, write
from tests.observe.onnx.helpers import runner

X = np.random.default_rng(0).normal(size=(3, 4, 5, 5))


def simple(folder: Path, **options: object) -> Path:
    return write(folder, [batch_norm("x", "y")], {"x": ["n", 4, 5, 5]}, ["y"], norm_weights(4), **options)


def two_inputs(folder: Path) -> Path:
    nodes = [helper.make_node("Add", ["a", "b"], ["x"]), batch_norm("x", "y")]
    return write(folder, nodes, {"a": ["n", 4, 5, 5], "b": ["n", 4, 1, 1]}, ["y"], norm_weights(4))


def integers(folder: Path) -> Path:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), batch_norm("f", "y")]
    return write(folder, nodes, {"x": ["n", 4, 5, 5]}, ["y"], norm_weights(4), dtype="int32")


def test_doubles_and_integers_become_what_the_model_wants(tmp_path: Path) -> None:
    run = runner(simple(tmp_path))
    wide, narrow = run.outputs(Batch((X,)))["y"], run.outputs(Batch((X.astype(np.float32),)))["y"]
    np.testing.assert_array_equal(wide, narrow)
    assert run.outputs(Batch((X.astype(np.int64),)))["y"].dtype == np.float32


def test_integers_of_another_width(tmp_path: Path) -> None:
    run = runner(integers(tmp_path))
    assert run.observe(Batch((np.ones((3, 4, 5, 5), np.uint8),))).samples == 3


@pytest.mark.parametrize("value", [0.5, 2**40, np.nan])
def test_numbers_that_the_declared_integers_cannot_hold(value: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input 'x' wants int32"):
        runner(integers(tmp_path)).observe(Batch((np.full((3, 4, 5, 5), value),)))


def test_numbers_too_large_for_the_declared_floats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="infinite"):
        runner(simple(tmp_path)).observe(Batch((X * 1e40,)))


def test_inputs_by_name_in_any_order_and_superfluous_ones(tmp_path: Path) -> None:
    run, b = runner(two_inputs(tmp_path)), X[:, :, :1, :1]
    by_position = run.outputs(Batch((X, b)))["y"]
    by_name = run.outputs(Batch((b, X, b), ("b", "a", "label")))["y"]
    np.testing.assert_array_equal(by_position, by_name)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Batch((X,)), r"2 inputs \(a, b\), the data gives 1 arrays"),
        (Batch((X,), ("a",)), "no input 'b'; it gives a"),
        (Batch((X, X[:, :3, :1, :1])), r"input 'b' wants the shape \(any, 4, 1, 1\), the data gives \(3, 3, 1, 1\)"),
        (Batch((X, X[:, :, 0, 0])), r"input 'b' wants the shape .* the data gives \(3, 4\)"),
    ],
)
def test_data_that_does_not_fit(batch: Batch, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        runner(two_inputs(tmp_path)).observe(batch)
    assert "\n" not in str(caught.value)


def test_samples_that_do_not_go_together_fail_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="onnxruntime failed on this data") as caught:
        runner(two_inputs(tmp_path)).observe(Batch((X, X[:2, :, :1, :1])))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_does_not_exist_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Wobble", ["x"], ["a"], domain="acme"), batch_norm("a", "y")]
    path = write(tmp_path, nodes, {"x": ["n", 4, 5, 5]}, ["y"], norm_weights(4))
    with pytest.raises(InputError, match="Wobble") as caught:
        runner(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_text_inputs_are_refused(tmp_path: Path) -> None:
    path = simple(tmp_path)
    import onnx

    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    onnx.save(model, path)
    with pytest.raises(InputError, match="input 'x' is not a tensor of numbers"):
        runner(path)
