"""The table of activations against PyTorch's autograd, and its tails against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from normdiag.ops import FUNCTIONS, SATURATION_THRESHOLD, Activation, derivative, tails
from normdiag.ops.numeric import erf
from normdiag.ops.selu import ALPHA as SELU_ALPHA
from normdiag.ops.selu import SCALE as SELU_SCALE

torch = pytest.importorskip("torch")
F = torch.nn.functional

ACTIVATIONS = {
    "sigmoid": (Activation("sigmoid"), torch.sigmoid),
    "tanh": (Activation("tanh"), torch.tanh),
    "hard_sigmoid": (Activation("hard_sigmoid", 1 / 6, 0.5), F.hardsigmoid),
    "relu": (Activation("relu"), F.relu),
    "leaky_relu": (Activation("leaky_relu", 0.01), F.leaky_relu),
    "relu6": (Activation("relu6", low=0.0, high=6.0), F.relu6),
    "clip": (Activation("clip", low=-1.0, high=2.0), lambda x: F.hardtanh(x, -1.0, 2.0)),
    "prelu": (Activation("prelu", 0.05), lambda x: F.prelu(x, torch.tensor(0.05, dtype=x.dtype))),
    "elu": (Activation("elu", 1.5), lambda x: F.elu(x, 1.5)),
    "selu": (Activation("selu", SELU_ALPHA, SELU_SCALE), F.selu),
    "gelu": (Activation("gelu"), F.gelu),
    "gelu_tanh": (Activation("gelu_tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (Activation("silu"), F.silu),
    "hard_swish": (Activation("hard_swish"), F.hardswish),
    "mish": (Activation("mish"), F.mish),
    "softplus": (Activation("softplus", 2.0), lambda x: F.softplus(x, 2.0)),
}


def test_every_kind_is_covered() -> None:
    assert set(ACTIVATIONS) == set(FUNCTIONS)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_derivative_equals_autograd(kind: str) -> None:
    activation, function = ACTIVATIONS[kind]
    x = torch.linspace(-9.987, 9.989, 4001, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(function(x).sum(), x)
    np.testing.assert_allclose(derivative(activation, x.detach().numpy()), expected.numpy(), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_value_equals_torch(kind: str) -> None:
    activation, function = ACTIVATIONS[kind]
    x = torch.linspace(-9.987, 9.989, 4001, dtype=torch.float64)
    value = FUNCTIONS[kind].value(activation, x.numpy())
    np.testing.assert_allclose(value, function(x).numpy(), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("threshold", [0.02, SATURATION_THRESHOLD, 0.3])
def test_tails_are_where_the_derivative_stays_small(kind: str, threshold: float) -> None:
    activation, _ = ACTIVATIONS[kind]
    edges = tails(activation, threshold)
    grid = np.linspace(-60, 60, 240_001)
    slope = np.abs(derivative(activation, grid))
    slope[np.abs(grid - edges.lower) < 1e-3] = slope[np.abs(grid - edges.upper) < 1e-3] = np.nan
    limit = threshold * np.nanmax(slope)
    outside = (grid < edges.lower) | (grid > edges.upper)
    assert np.nanmax(slope[outside], initial=0.0) <= limit
    for edge, side in ((edges.lower, 1), (edges.upper, -1)):
        if math.isfinite(edge):
            inside = np.abs(derivative(activation, np.array(edge + side * 2e-3)))
            assert inside >= limit * 0.98, f"the tail of {kind} begins later than it could"


def test_the_default_threshold_means_4_for_the_sigmoid_and_2_for_tanh() -> None:
    assert tails(Activation("sigmoid")).upper == pytest.approx(4.0, abs=1e-12)
    assert tails(Activation("tanh")).lower == pytest.approx(-2.0, abs=1e-12)
    assert not tails(Activation("sigmoid")).closed


@pytest.mark.parametrize(
    ("activation", "lower", "upper"),
    [
        (Activation("relu"), 0.0, math.inf),
        (Activation("relu6", low=0.0, high=6.0), 0.0, 6.0),
        (Activation("hard_sigmoid", 0.2, 0.5), -2.5, 2.5),
        (Activation("hard_swish"), -3.0, math.inf),
    ],
)
def test_flat_pieces_are_closed(activation: Activation, lower: float, upper: float) -> None:
    edges = tails(activation)
    assert (edges.lower, edges.upper, edges.closed) == (lower, upper, True)
    assert derivative(activation, np.array([lower]))[0] == 0.0


def test_a_steep_leaky_relu_is_never_saturated() -> None:
    assert tails(Activation("leaky_relu", 0.2)).lower == -math.inf


def test_what_is_no_number_stays_none() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    np.testing.assert_array_equal(erf(x), [np.nan, 1.0, -1.0, 0.0])
