"""Inner tensors that are the same before and after, and those that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from normdiag.folding.onnx import OnnxFoldable
from normdiag.folding.plan import plan_folds
from normdiag.records import Batch
from tests.nets.onnx.nodes import batch_norm, conv_norm, from_nodes, node, norm_conv, norm_weights, normal, save

X = {"x": ["N", 3, 6, 6]}


def points(
    proto: onnx.ModelProto, folder: Path, norms: frozenset[str] = frozenset({"batch"})
) -> dict[str, tuple[str, str]]:
    """Each point of the folded model, after a look at the values there."""
    foldable = OnnxFoldable(save(proto, folder / "m.onnx"))
    plan = plan_folds(foldable.graph, norms)
    assert len(plan.steps) == plan.norms, plan.refusals
    folded = foldable.fold(plan)
    shape = [size or 2 for size in foldable.inputs[0].shape or ()]
    batch = Batch((np.random.default_rng(0).normal(0, 1, shape).astype(np.float32),))
    before = foldable.evaluator([point.before for point in folded.points]).run(batch)
    after = folded.evaluator([point.after for point in folded.points]).run(batch)
    for point in folded.points:
        np.testing.assert_allclose(after[point.after], before[point.before], atol=1e-5)
    return {point.layer: (point.before, point.after) for point in folded.points}


def test_upstream_it_is_the_output_of_the_norm(tmp_path: Path) -> None:
    assert points(conv_norm(), tmp_path) == {"bn": ("n", "n")}


def test_of_two_in_a_row_the_second_is_left(tmp_path: Path) -> None:
    proto = from_nodes(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            batch_norm("c", "n1", "one"),
            batch_norm("n1", "n2", "two"),
            node("Relu", ["n2"], ["y"]),
        ],
        X,
        ["y"],
        normal(w=(4, 3, 3, 3)) | norm_weights(4, "one") | norm_weights(4, "two"),
    )
    assert points(proto, tmp_path) == {"two": ("n2", "n2")}


def test_downstream_it_is_the_output_of_the_layer(tmp_path: Path) -> None:
    assert points(norm_conv(), tmp_path) == {"bn": ("c", "c")}


def test_a_layer_that_takes_up_norms_on_both_sides(tmp_path: Path) -> None:
    """What the convolution writes is only there with the second norm in it."""
    proto = from_nodes(
        [
            node("Relu", ["x"], ["r"]),
            batch_norm("r", "n1", "one"),
            node("Conv", ["n1", "w"], ["c"], name="conv"),
            batch_norm("c", "n2", "two"),
            node("Relu", ["n2"], ["y"]),
        ],
        X,
        ["y"],
        normal(w=(4, 3, 3, 3)) | norm_weights(3, "one") | norm_weights(4, "two"),
    )
    assert points(proto, tmp_path) == {"two": ("n2", "n2")}


def test_norms_that_go_on_from_a_norm(tmp_path: Path) -> None:
    """The second goes into the first, and that through a pool into the layer after: the input keeps its name."""
    proto = from_nodes(
        [
            batch_norm("x", "n1", "one"),
            batch_norm("n1", "n2", "two"),
            node("GlobalAveragePool", ["n2"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "w"], ["g"], name="fc"),
            node("Relu", ["g"], ["y"]),
        ],
        X,
        ["y"],
        normal(w=(3, 5)) | norm_weights(3, "one") | norm_weights(3, "two"),
    )
    assert points(proto, tmp_path) == {"one": ("g", "g"), "two": ("g", "g")}


def test_gamma_of_a_layer_norm(tmp_path: Path) -> None:
    proto = from_nodes(
        [
            node("LayerNormalization", ["x", "g", "b"], ["n"], name="ln"),
            node("MatMul", ["n", "w"], ["m"], name="fc"),
            node("Relu", ["m"], ["y"]),
        ],
        {"x": ["N", 5, 6]},
        ["y"],
        normal(g=(6,), b=(6,), w=(6, 4)),
    )
    assert points(proto, tmp_path, frozenset({"layer"})) == {"ln": ("m", "m")}
