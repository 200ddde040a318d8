"""Activations that a graph calls or spells out, without any framework."""

from __future__ import annotations

import math

import numpy as np
import pytest

from normdiag.graph.recognise.activations import Activated, find_activations
from normdiag.ops import Activation
from normdiag.ops.clip import clip
from tests.graph.recognise.sketch import Sketch

SIGMOID = Activation("sigmoid")


def found(sketch: Sketch) -> list[Activated]:
    return list(find_activations(sketch.steps.values(), sketch).values())


def graph() -> Sketch:
    return Sketch({"x": (None, 6)})


def test_a_function_that_is_called() -> None:
    s = graph()
    s("y", "function", "x", function=SIGMOID)
    (site,) = found(s)
    assert (site.function, site.input, site.output, site.nodes) == (SIGMOID, "x", "y", (0,))


def test_silu_by_hand_is_one_and_its_sigmoid_is_none() -> None:
    s = graph()
    s("y", "mul", s("p", "pass", "x"), s("g", "function", "x", function=SIGMOID))
    (site,) = found(s)
    assert (site.function.kind, site.input, site.output, site.nodes) == ("silu", "x", "y", (1, 2))


def test_a_gate_that_is_read_elsewhere_is_an_activation_too() -> None:
    s = graph()
    s.outputs = ("g",)
    s("y", "mul", "x", s("g", "function", "x", function=SIGMOID))
    assert [site.function.kind for site in found(s)] == ["sigmoid", "silu"]


def test_gelu_by_its_error_function() -> None:
    s = graph()
    s("e", "erf", s("d", "div", "x", math.sqrt(2)))
    s("y", "mul", s("h", "mul", "x", s("a", "add", "e", 1.0)), 0.5)
    (site,) = found(s)
    assert (site.function.kind, site.output) == ("gelu", "y")


@pytest.mark.parametrize(
    ("low", "high", "kinds"),
    [(0.0, 6.0, {"relu6", "clip"}), (-1.0, 1.0, {"clip"}), (0.0, math.inf, {"relu"}), (1e-12, math.inf, set())],
)
def test_bounds_one_over_the_other(low: float, high: float, kinds: set[str]) -> None:
    s = graph()
    s("l", "max", "x", low)
    if high < math.inf:
        s("y", "min", "l", high)
    sites = found(s)
    assert len(sites) == bool(kinds) and {site.function.kind for site in sites} <= kinds
    assert all((site.function.low, site.function.high) == (low, high) for site in sites)


def test_a_clip_whose_bounds_are_not_known_is_none() -> None:
    s = graph()
    s("y", "clip", "x")
    s("z", "clip", "x", function=clip(-2.0, 2.0))
    assert [site.output for site in found(s)] == ["z"]


def test_functions_of_weights_are_none() -> None:
    s = graph()
    s.constants["w"] = np.ones(6)
    s("y", "function", "w", function=SIGMOID)
    assert not found(s)
