"""`--data random` where the model does not say all of its sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

import normdiag
from normdiag.data import DataOptions
from normdiag.errors import UsageError
from tests.nets.onnx.nodes import batch_norm, norm_weights, write


def conv(folder: Path, length: int | str) -> Path:
    """A signal (N, length) through a convolution of 300 taps and a BatchNorm."""
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["x1"]),
        helper.make_node("Conv", ["x1", "w"], ["c"]),
        batch_norm("c", "y"),
    ]
    weights = norm_weights(2) | {"w": np.ones((2, 1, 300), np.float32), "to": np.array([0, 1, -1])}
    return write(folder, nodes, {"x": ["n", length]}, ["y"], weights)


def test_free_sizes_are_guessed_and_said(tmp_path: Path) -> None:
    report = normdiag.inspect(conv(tmp_path, "t"), data=["random"], data_options=DataOptions(max_samples=4))
    assert report.data is not None and report.layers[0].own is not None
    (note,) = [each for each in report.model.notes if "guessed" in each]
    assert "x 1024" in note  # 128 and 16 are shorter than the filter
    given = DataOptions(max_samples=4, input_shapes=("1,500",))
    report = normdiag.inspect(conv(tmp_path, "t"), data=["random"], data_options=given)
    assert not any("guessed" in each for each in report.model.notes)
    assert any("one sample is 500" in each for each in report.notes)


def test_where_no_guess_runs_the_sizes_are_asked_for(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path, nodes, {"x": ["n", "k"]}, ["y"], {"w": np.ones((37, 2), np.float32)})
    with pytest.raises(UsageError, match=r"none of those tried .*--input-shape x=128$"):
        normdiag.inspect(path, data=["random"])


def test_a_shape_of_a_batch_is_taken_for_that_of_a_sample() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    given = DataOptions(max_samples=4, input_shapes=("1,3,16,16",))
    report = normdiag.inspect(net, data=["random"], data_options=given)
    assert report.data is not None and report.data.samples == 4
    assert any("1,3,16,16 has the batch axis in it: one sample is 3,16,16" in each for each in report.notes)


def test_a_rank_that_fits_as_it_stands_is_left_alone() -> None:
    net = nn.Sequential(nn.Flatten(1), nn.LazyLinear(4), nn.BatchNorm1d(4))
    net(torch.zeros(2, 1, 3, 5))
    given = DataOptions(max_samples=4, input_shapes=("1,3,5",))
    report = normdiag.inspect(net, data=["random"], data_options=given)
    assert not any("batch axis" in each for each in report.notes)


def test_tokens_and_their_mask_get_one_length(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["ids", "mask"], ["y"])]
    path = write(tmp_path, nodes, {"ids": [1, "t"], "mask": [1, "t"]}, ["y"], {}, dtype="int64")
    report = normdiag.inspect(path, data=["random"])
    assert any("ids 128:int64 and mask 128:int64" in each for each in report.model.notes)
