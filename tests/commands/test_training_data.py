"""Data that the model was trained on, beside other data, and the order in which both are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag import DataOptions
from normdiag.errors import UsageError
from normdiag.render.json import to_json
from normdiag.report.inspect import inspect_document
from tests.nets.digits import digits

X, Y = digits()


def test_drift_on_the_data_alone_is_told_from_drift_in_both(samples: Path) -> None:
    report = normdiag.inspect(samples / "digits_cnn.onnx", 3.0 * X, train_batches=X)
    seen = report.on_training_data
    assert seen is not None and report.data is not None
    assert seen.data.samples == report.data.samples == len(X)
    here, there = report.layers[0].drift, seen.layers[0].drift
    assert here is not None and there is not None
    assert here.lower > 1.0
    assert there.upper < 0.05
    document = to_json(report)["on_training_data"]
    assert document["layers"][0]["drift"]["rms"] == there.rms
    assert document["gap"]["samples"] == len(X)
    text = str(inspect_document(report))
    assert "On training data (python, 359 samples): drift: median 0.0" in text


def test_it_goes_beside_other_data_and_in_one_form(samples: Path) -> None:
    with pytest.raises(UsageError, match="beside other data"):
        normdiag.inspect(samples / "digits_cnn.onnx", train_batches=X)
    with pytest.raises(UsageError, match="not both"):
        normdiag.inspect(samples / "digits_cnn.onnx", X, train_batches=X, train_data=["x.npy"])


def test_sorted_data_is_read_in_a_random_order_unless_the_options_say_otherwise(samples: Path) -> None:
    """Two classes one after the other, of which the first 100 samples are one."""
    x, y = X, Y
    sorted_x = x[np.argsort(y, kind="stable")]

    def drift(options: DataOptions | None) -> float:
        report = normdiag.inspect(samples / "digits_cnn.onnx", sorted_x, data_options=options)
        assert report.layers[-1].drift is not None
        return report.layers[-1].drift.corrected

    few = DataOptions(max_samples=100)
    assert drift(DataOptions(max_samples=100, shuffled=False)) > 3 * drift(few)
    assert drift(few) == drift(few), "the order is that of the seed"
    assert drift(few) != drift(DataOptions(max_samples=100, seed=1))
