"""Every form of normalization that people write out, found by both backends, with the numbers of float64."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from normdiag.commands.inspect import inspect
from normdiag.graph.importers.torch_export import torch_graph
from normdiag.models.onnx import NormSite
from normdiag.records import LayerMetrics, Norm, NormLayer
from tests.graph.importers.onnx.site_checks import load_program, run
from tests.graph.written.forms import FORMS, SHAPE, All, Array, Form, inputs_of
from tests.graph.written.near_misses import NEAR_MISSES

NAMES = [form.name for form in FORMS]
X = np.random.default_rng(5).normal(0.3, 1.2, SHAPE).astype(np.float32)
FREE = {"x": {0: "n", 2: "h", 3: "w"}}
EXPORTS = {
    "torchscript": {"dynamo": False, "opset_version": 17},
    "torchscript, free sizes": {"dynamo": False, "opset_version": 17, "dynamic_axes": FREE},
    "dynamo": {"dynamo": True},
}
Found = Mapping[str, tuple[NormSite, Array, Array]]
# It traces sizes as numbers: (n - 1) / float(n) keeps the n of the example.
NOT_WITH_FREE_SIZES = {"fast_neural_style"}


@pytest.fixture(scope="module")
def net() -> All:
    return All(FORMS).eval()


@pytest.fixture(scope="module")
def files(net: All, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return exported(net, tmp_path_factory.mktemp("written"))


def exported(net: All, folder: Path) -> Mapping[str, Path]:
    paths = {how: folder / f"{number}.onnx" for number, how in enumerate(EXPORTS)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for how, path in paths.items():
            torch.onnx.export(net, (torch.from_numpy(X),), str(path), input_names=["x"], verbose=False, **EXPORTS[how])
    return paths


@pytest.fixture(scope="module")
def found(files: Mapping[str, Path]) -> Mapping[str, Found]:
    """By exporter and form: the site, and what goes in and comes out there."""
    return {how: _sites(path) for how, path in files.items()}


def _sites(path: Path) -> Found:
    program = load_program(path)
    values = run(program, {"x": X}, {name for site in program.sites for name in (site.input, site.output)})
    return {_form(site.layer.name): (site, values[site.input], values[site.output]) for site in program.sites}


def _form(layer: str) -> str:
    return next(part for part in layer.split(".") if part in NAMES)


def check(form: Form, layer: NormLayer, net: All) -> None:
    """The record says what the form is."""
    known = net.forms[form.name]
    eps = form.eps**2 if form.outside else form.eps
    assert (layer.kind, layer.groups, layer.origin) == (form.kind, form.groups, "decomposed")
    assert layer.eps == pytest.approx(eps, rel=1e-3, abs=1e-30)
    for letter, array in (("g", layer.gamma), ("b", layer.beta)):
        assert (array is not None) == (letter in form.affine), letter
        if array is not None:
            np.testing.assert_array_equal(array, getattr(known, letter).detach().numpy())
    said = " ".join(layer.notes)
    assert ("n - 1" in said, "standard deviation" in said or "root mean square" in said or "lower bound" in said) == (
        form.ddof == 1,
        form.outside or form.least or "unit_length" in form.name,
    )


@pytest.mark.parametrize("how", EXPORTS)
@pytest.mark.parametrize("form", FORMS, ids=NAMES)
def test_in_an_onnx_file(form: Form, how: str, found: Mapping[str, Found], net: All) -> None:
    if form.name in NOT_WITH_FREE_SIZES and "free" in how:
        assert form.name not in found[how], "it is another computation, and no norm"
        return
    site, before, after = found[how][form.name]
    # torch.onnx's newer exporter takes an eps that is nearly 0 away
    check(replace(form, eps=site.layer.eps) if form.eps < 1e-20 and how == "dynamo" else form, site.layer, net)
    np.testing.assert_allclose(before, inputs_of(form, X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after, form.expected(before, site.layer.gamma, site.layer.beta), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("decomposed", [False, True], ids=["exported", "decomposed"])
def test_in_an_exported_program(decomposed: bool, net: All) -> None:
    program = torch.export.export(net, (torch.from_numpy(X),))
    graph = torch_graph(program.run_decompositions() if decomposed else program)
    layers = {_form(op.name): op.detail.layer for op in graph.ops if isinstance(op.detail, Norm)}
    assert list(layers) == NAMES
    for form in FORMS:
        check(form, layers[form.name], net)


def smallest(rows: tuple[LayerMetrics, ...]) -> dict[str, float]:
    return {_form(row.layer.name): row.groups.variance_min for row in rows if row.groups is not None}


def test_what_they_normalize_is_measured(files: Mapping[str, Path], net: All) -> None:
    """The variance that eps is compared with, by both backends and in float64."""
    expected = {form.name: replace(form, ddof=0).variance(inputs_of(form, X)).min() for form in FORMS}
    measured = {how: smallest(inspect(path, [X]).layers) for how, path in files.items()}
    measured["live"] = smallest(inspect(net, [torch.from_numpy(X)]).layers)
    for how, values in measured.items():
        gone = NOT_WITH_FREE_SIZES if "free" in how else set()
        assert set(values) == set(NAMES) - gone, how
        for name, value in values.items():
            assert value == pytest.approx(expected[name], rel=1e-4), (how, name)


def test_what_is_none_is_not_claimed(tmp_path: Path) -> None:
    net = All(NEAR_MISSES).eval()
    for how, path in exported(net, tmp_path).items():
        assert [site.layer.name for site in load_program(path).sites] == [], how
    program = torch.export.export(net, (torch.from_numpy(X),))
    for each in (program, program.run_decompositions()):
        assert [op.name for op in torch_graph(each).ops if isinstance(op.detail, Norm)] == []
