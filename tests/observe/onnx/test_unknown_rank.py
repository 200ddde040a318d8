"""Tensors of which nobody knows the rank before they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import normdiag
from tests.nets.onnx.nodes import write


@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 5, 3), (6, 5, 3, 2)])
def test_an_activation_of_a_rank_that_only_the_run_tells(shape: tuple[int, ...], tmp_path: Path) -> None:
    """One value for each sample is a rank of 1, as after the pooling of aecmos and plcmos."""
    nodes = [helper.make_node("Squeeze", ["x"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    path = write(tmp_path, nodes, {"x": ["n", *[f"d{i}" for i in range(4)]]}, ["y"], {})
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    padded = x.reshape(*shape, *[1] * (5 - x.ndim))
    (activation,) = normdiag.inspect(path, [padded]).activations
    assert activation.saturated_fraction == pytest.approx(float((x <= 0).mean()))
    assert activation.units == (1 if x.ndim == 1 else 5)
    profile = normdiag.profile(path, [padded])
    point = next(sums for point, sums in profile.points.items() if point.role == "activation")
    assert point.channels == (1 if x.ndim == 1 else 5)
