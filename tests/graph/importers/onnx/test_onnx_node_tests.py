"""The normalization of the onnx package's node tests: operators, and the functions that they stand for."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.graph.importers.onnx.site_checks import load_model, run

KINDS = {"layer_norm": "layernormalization", "rms_norm": "rmsnormalization", "group_norm": "groupnormalization"}


def collected() -> Mapping[str, tuple[str, Any]]:
    """By name: the kind of the norm, and the case."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in KINDS.values():
            importlib.import_module(f"onnx.backend.test.case.node.{module}")
    return {
        case.name: (kind, case)
        for case in node._NodeTestCases
        for kind in KINDS
        if case.name.startswith(f"test_{kind}alization")
    }


CASES = collected()


def test_there_are_as_many_as_there_were() -> None:
    expanded = [name for name in CASES if "expanded" in name]
    assert len(expanded) >= 59 and sum(name.startswith("test_rms") for name in expanded) >= 19


@pytest.mark.parametrize("name", CASES)
def test_one_layer_of_the_right_kind(name: str, tmp_path: Path) -> None:
    kind, case = CASES[name]
    program = load_model(tmp_path, case.model)
    (site,) = program.sites
    feeds = {value.name: array for value, array in zip(case.model.graph.input, case.data_sets[0][0], strict=True)}
    given = list(feeds.values())
    assert site.layer.kind == kind and np.prod(site.layer.eps) == pytest.approx(_eps(name), rel=1e-5)
    assert site.layer.groups == (2 if kind == "group_norm" else None)
    values = run(program, feeds, {site.input, site.output})
    np.testing.assert_array_equal(values[site.input].reshape(-1), given[0].reshape(-1))
    if site.layer.origin == "decomposed" and kind != "group_norm":
        x = values[site.input].astype(np.float64)
        axes = tuple(axis % x.ndim for axis in site.axes)
        centred = x - x.mean(axes, keepdims=True) if kind == "layer_norm" else x
        expected = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + site.layer.eps)
        expected = expected * given[1] if site.output in program.view.graph.proto.output[0].name else expected
        np.testing.assert_allclose(values[site.output].reshape(x.shape), expected, rtol=1e-4, atol=1e-5)


def _eps(name: str) -> float:
    if "group" in name:
        return 1e-2 if "epsilon" in name else 1e-5
    return 1e-1 if "epsilon" in name else 1e-5
