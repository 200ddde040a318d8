"""What two models store differently, on contents made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normdiag.comparison.contents import contents_of_tensors
from normdiag.comparison.static import compare_contents
from normdiag.records import NormLayer
from normdiag.records.contents import LayerContents
from normdiag.records.diff import LayerDifference

CHANNELS = 6
RNG = np.random.default_rng(3)
WEIGHT = RNG.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32)
NORM = NormLayer(
    "bn",
    "batch_norm",
    "module",
    channels=CHANNELS,
    eps=1e-5,
    momentum=0.1,
    gamma=RNG.normal(1, 0.2, CHANNELS).astype(np.float32),
    beta=RNG.normal(0, 0.2, CHANNELS).astype(np.float32),
    running_mean=RNG.normal(size=CHANNELS).astype(np.float32),
    running_var=RNG.uniform(0.5, 2, CHANNELS).astype(np.float32),
    training=False,
)


def model(weight: np.ndarray = WEIGHT, bias: np.ndarray | None = None, **changes: Any) -> tuple[LayerContents, ...]:
    tensors = {"conv.weight": weight} if bias is None else {"conv.weight": weight, "conv.bias": bias}
    return contents_of_tensors(tensors, [replace(NORM, **changes)])


def pair(a: tuple[LayerContents, ...], b: tuple[LayerContents, ...], name: str = "bn") -> LayerDifference:
    layers, only_a, only_b = compare_contents(a, b)
    assert not only_a and not only_b
    return next(each for each in layers if each.a == name)


def test_equal_models_have_no_difference() -> None:
    layers, *_ = compare_contents(model(), model())
    assert [each.differs() for each in layers] == [False, False]


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("eps", {"eps": 1e-3}, ("1e-05", "0.001")),
        ("momentum", {"momentum": 0.9}, ("0.1", "0.9")),
        ("training", {"training": True}, ("no", "yes")),
        ("kind", {"kind": "layer_norm"}, ("batch_norm", "layer_norm")),
    ],
)
def test_a_setting_that_differs_is_told(name: str, changes: dict[str, Any], told: tuple[str, str]) -> None:
    found = pair(model(), model(**changes))
    assert found.differs()
    assert (name, *told) in [(setting.name, setting.a, setting.b) for setting in found.settings]


def test_eps_as_an_onnx_attribute_holds_it_is_the_same() -> None:
    assert not pair(model(), model(eps=float(np.float32(1e-5)))).settings
    assert not pair(model(), model(eps=None)).settings


def test_statistics_are_told_in_stored_deviations() -> None:
    s = np.sqrt(NORM.running_var.astype(np.float64) + 1e-5)
    found = pair(model(), model(running_mean=(NORM.running_mean + 0.5 * s).astype(np.float32)))
    assert found.statistics == pytest.approx(0.5, rel=1e-5)
    found = pair(model(), model(running_var=(4 * NORM.running_var).astype(np.float32)))
    assert found.statistics == pytest.approx(1.0, rel=1e-4)


def test_no_bias_is_a_bias_of_zeros() -> None:
    assert not pair(model(), model(bias=np.zeros(CHANNELS, np.float32)), "conv").differs()
    assert pair(model(), model(bias=np.ones(CHANNELS, np.float32)), "conv").differs()


def test_half_precision_is_rounding_and_a_tolerance_accepts_more() -> None:
    assert not pair(model(), model(WEIGHT.astype(np.float16)), "conv").differs()
    noisy = WEIGHT * (1 + 0.01 * RNG.choice([-1, 1], WEIGHT.shape)).astype(np.float32)
    found = pair(model(), model(noisy), "conv")
    assert found.differs() and found.differs(0.009) and not found.differs(0.011)


def test_a_matrix_that_is_stored_the_other_way_round_is_the_same() -> None:
    square = RNG.normal(size=(5, 5)).astype(np.float32)
    a, b = (contents_of_tensors({"fc.weight": each}, ()) for each in (square, square.T.copy()))
    assert not pair(a, b, "fc").differs()


def folded(scale_by: float = 1.0) -> tuple[LayerContents, ...]:
    """The convolution with the norm in it, computed anew in float64."""
    gamma, beta, mean, var = (
        np.asarray(each, np.float64) for each in (NORM.gamma, NORM.beta, NORM.running_mean, NORM.running_var)
    )
    scale = scale_by * gamma / np.sqrt(var + 1e-5)
    weight = (WEIGHT * scale[:, None, None, None]).astype(np.float32)
    return contents_of_tensors({"conv.weight": weight, "conv.bias": (beta - scale * mean).astype(np.float32)}, ())


def test_a_fold_explains_weights_that_differ() -> None:
    for a, b, of_a in ((model(), folded(), True), (folded(), model(), False)):
        layers, only_a, only_b = compare_contents(a, b)
        assert [each.folded for each in layers] == ["bn"] and not layers[0].differs()
        (gone,) = only_a if of_a else only_b
        assert gone.folded_into == "conv"


def test_a_wrong_fold_explains_nothing() -> None:
    layers, only_a, _ = compare_contents(model(), folded(1.01))
    assert layers[0].folded is None and layers[0].differs()
    assert only_a[0].folded_into is None
