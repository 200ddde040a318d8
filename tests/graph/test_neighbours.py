"""What stands beside a norm: step by step, from norm to norm, on graphs made by hand."""

from __future__ import annotations

from normdiag.graph.neighbours import neighbours
from normdiag.records import NormLayer, OpGraph
from normdiag.records.opgraph import Op
from normdiag.records.ops import Norm, Opaque


def op(name: str, inputs: str, outputs: str, kind: str = "other") -> Op:
    detail = Norm(NormLayer(name, "batch_norm", "module")) if kind == "norm" else Opaque("a test")
    return Op(name, kind, kind.title(), tuple(inputs.split()), tuple(outputs.split()), detail)  # type: ignore[arg-type]


def names(steps: tuple[tuple[tuple[str, str], ...], ...]) -> list[str]:
    return [" ".join(name for name, _ in step) for step in steps]


def test_a_chain_is_followed_from_norm_to_norm() -> None:
    chain = (
        op("conv1", "x", "a"),
        op("bn1", "a", "b", "norm"),
        op("relu", "b", "c", "activation"),
        op("conv2", "c", "d", "conv"),
        op("bn2", "d", "e", "norm"),
        op("head", "e", "y"),
    )
    first, second = neighbours(OpGraph(chain, ("x",), ("y",)), ["bn1", "bn2"])
    assert (first.layer, names(first.before), names(first.after)) == ("bn1", ["conv1"], ["relu", "conv2", "bn2"])
    assert (names(second.before), names(second.after)) == (["bn1", "relu", "conv2"], ["head"])
    assert [kind for step in first.after for _, kind in step] == ["Activation", "conv", "norm"]


def test_branches_stand_in_one_step_and_each_op_once() -> None:
    graph = (
        op("split", "x", "a b"),
        op("left", "a", "c"),
        op("right", "b", "d"),
        op("add", "c d c", "e"),
        op("bn", "e", "f", "norm"),
        *(op(f"use{i}", "f", f"u{i}") for i in range(5)),
    )
    (found,) = neighbours(OpGraph(graph, ("x",), ("u0",)), ["bn"])
    assert names(found.before) == ["split", "left right", "add"]
    assert names(found.after) == ["use0 use1 use2"]


def test_a_loop_ends() -> None:
    (found,) = neighbours(OpGraph((op("bn", "x y", "z", "norm"), op("back", "z", "y")), ("x",), ("z",)), ["bn"])
    assert names(found.before) == ["back"] and names(found.after) == ["back"]


def test_a_layer_of_several_ops_is_one() -> None:
    graph = (
        op("conv1", "x", "a"),
        op("norm1.reshape", "a", "b"),
        op("norm1.mul", "b k", "c"),
        op("cast", "", "k", "constant"),
        op("relu", "c", "d"),
        op("norm10", "d", "e", "norm"),
    )
    first, second = neighbours(OpGraph(graph, ("x",), ("e",)), ["norm1", "norm10", "gone"])
    assert (names(first.before), names(first.after)) == (["conv1"], ["relu", "norm10"])
    assert names(second.before) == ["norm1", "relu"]
