"""Normalization spelled out in steps, without any framework: which layer it is, and what it is not."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.graph.recognise.normals import find_normals
from normdiag.graph.recognise.written_out import WrittenOut, written_out
from tests.graph.recognise.sketch import Sketch

ROWS = (None, 5, 6)
IMAGE = (None, 6, 4, 4)


def found(sketch: Sketch) -> list[WrittenOut]:
    normals, _ = find_normals(sketch.steps.values(), sketch)
    return [layer for normal in normals if (layer := written_out(normal, sketch)) is not None]


def centred(s: Sketch, x: str, axes: tuple[int, ...]) -> str:
    return s("c", "sub", x, s("m", "mean", x, axes=axes))


def layer_norm(s: Sketch, x: str = "x", axes: tuple[int, ...] = (2,), eps: float = 1e-5) -> str:
    c = centred(s, x, axes)
    variance = s("v", "mean", s("q", "square", c), axes=axes)
    return s("n", "div", c, s("r", "sqrt", s("e", "add", variance, eps)))


def test_a_layer_norm_with_gamma_and_beta() -> None:
    gamma, beta = np.linspace(0.5, 1.5, 6), np.arange(6.0)
    s = Sketch({"x": ROWS}, {"g": gamma, "b": beta})
    s("y", "add", s("a", "mul", "g", layer_norm(s)), "b")
    (layer,) = found(s)
    assert (layer.layer.kind, layer.layer.eps, layer.layer.channels) == ("layer_norm", 1e-5, 6)
    assert (layer.input, layer.output, layer.gamma, layer.beta) == ("x", "y", "g", "b")
    assert layer.axes == (2,) and layer.trailing and layer.nodes == tuple(range(9))
    np.testing.assert_array_equal(layer.layer.gamma, gamma)


def test_the_variance_as_one_step() -> None:
    s = Sketch({"x": ROWS})
    variance = s("v", "variance", "x", axes=(-1,))
    s("n", "mul", centred(s, "x", (2,)), s("r", "rsqrt", s("e", "add", variance, 1e-6)))
    (layer,) = found(s)
    assert (layer.layer.kind, layer.layer.eps) == ("layer_norm", 1e-6)


def test_an_rms_norm_by_a_sum_and_through_casts() -> None:
    s = Sketch({"x": ROWS}, {"g": np.ones(6)})
    wide = s("w", "pass", "x")
    mean = s("m", "mul", s("t", "sum_square", wide, axes=(2,)), 1 / 6)
    scaled = s("n", "mul", wide, s("r", "pow", s("e", "add", mean, 1e-6), -0.5))
    s("y", "mul", s("d", "pass", scaled), "g")
    (layer,) = found(s)
    assert (layer.layer.kind, layer.output, layer.gamma) == ("rms_norm", "y", "g")


@pytest.mark.parametrize(
    ("axes", "shape", "kind"),
    [((2, 3), (6, 1, 1), "instance_norm"), ((1,), (6, 1, 1), "layer_norm"), ((1, 2, 3), (6, 1, 1), "group_norm")],
)
def test_the_axes_and_the_parameters_say_which(axes: tuple[int, ...], shape: tuple[int, ...], kind: str) -> None:
    s = Sketch({"x": IMAGE}, {"g": np.arange(6.0).reshape(shape)})
    s("y", "mul", layer_norm(s, axes=axes), "g")
    (layer,) = found(s)
    assert (layer.layer.kind, layer.layer.channels, layer.channel_axis) == (kind, 6, 1)


def test_a_group_norm_between_two_reshapes() -> None:
    s = Sketch({"x": IMAGE, "apart": (None, 2, 48), "y": IMAGE}, {"g": np.arange(6.0).reshape(6, 1, 1)})
    s("apart", "reshape", "x")
    s("y", "reshape", layer_norm(s, "apart"))
    s.shapes["z"] = IMAGE
    s("z", "mul", "y", "g")
    (layer,) = found(s)
    assert (layer.layer.kind, layer.layer.groups, layer.input, layer.output) == ("group_norm", 2, "x", "z")
    assert layer.nodes == tuple(range(10))


def test_a_reshape_to_another_rank_makes_no_groups() -> None:
    s = Sketch({"x": IMAGE, "apart": (None, 2, 48), "y": (None, 96)})
    s("apart", "reshape", "x")
    s("y", "reshape", layer_norm(s, "apart"))
    (layer,) = found(s)
    assert (layer.layer.kind, layer.input, layer.output) == ("layer_norm", "apart", "n")


def test_statistics_over_the_batch() -> None:
    s = Sketch({"x": (None, 6, 4, 4)})
    layer_norm(s, axes=(0, 2, 3))
    (layer,) = found(s)
    assert (layer.layer.kind, layer.layer.training) == ("batch_norm", True)
    assert layer.obstacle is not None


def test_no_normalization_without_an_eps_or_a_mean() -> None:
    s = Sketch({"x": ROWS})
    c = centred(s, "x", (2,))
    s("n", "div", c, s("r", "sqrt", s("v", "mean", s("q", "square", c), axes=(2,))))  # no eps
    assert not found(s)
    s = Sketch({"x": ROWS})
    s("n", "div", "x", s("r", "sqrt", s("e", "add", s("t", "sum_square", "x", axes=(2,)), 1e-6)))  # L2 normalization
    assert not found(s)
    s = Sketch({"x": ROWS, "z": ROWS})
    variance = s("v", "mean", s("q", "square", centred(s, "x", (2,))), axes=(2,))
    s("n", "div", "z", s("r", "sqrt", s("e", "add", variance, 1e-5)))  # another tensor by the spread of x
    assert not found(s)


def test_what_somebody_else_reads_is_not_part_of_it() -> None:
    s = Sketch({"x": ROWS}, {"g": np.arange(6.0)}, outputs=("n",))
    s("y", "mul", layer_norm(s), "g")
    (layer,) = found(s)
    assert (layer.output, layer.gamma) == ("n", "")


@pytest.mark.parametrize("number", [1e-320, 1e-200, 1e200, 1e308])
def test_numbers_beyond_all_measure_break_nothing(number: float) -> None:
    s = Sketch({"x": (2**62, 2**62, 2**62)})
    total = s("t", "mul", s("q", "sum_square", "x", axes=(0, 1, 2)), number)
    root = s("r", "rsqrt", s("e", "add", s("u", "div", total, number), 1e-6))
    s("y", "mul", s("n", "mul", "x", s("w", "mul", root, number)), number)
    assert not found(s)
