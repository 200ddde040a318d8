"""Graphs that ask for more memory than there is, in a few bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import normdiag
from normdiag.errors import InputError
from normdiag.models.onnx import load_onnx
from normdiag.observe.onnx.giants import MOST_MADE, refuse_giants
from tests.nets.onnx.text import from_text

# With a convolution before it, so that there is a fold to verify.
NORM = (
    "k0 = Constant<value = float[4,1,1,1] {1, 2, 3, 4}>() v0 = Conv<group = 4>(x, k0) "
    "y = BatchNormalization(v0, gamma4, beta4, mean4, var4)"
)


def model(body: str, *shape: int) -> onnx.ModelProto:
    body = body.replace("ADD", "s = ReduceMax<keepdims = 0>(big) z = Add(y, s)")
    text = f"g (float[N,4,5,5] x) => (float[N,4,5,5] z) {{ {NORM} {body} }}"
    return from_text(text, 17, shape=np.array(shape, np.int64))


GIANTS = {
    "constant of shape": model("big = ConstantOfShape(shape) ADD", 30_000, 30_000),
    "expand": model("c = Constant<value = float {1}>() big = Expand(c, shape) ADD", 9, 10**9),
    "many": model(" ".join(f"b{i} = ConstantOfShape(shape)" for i in range(6)) + " big = Identity(b5) ADD", 9999, 9999),
    "noise": model("big = RandomNormal<shape = [40000, 40000]>() ADD"),
}


@pytest.mark.parametrize("name", GIANTS)
@pytest.mark.parametrize("use", ["inspect", "fold"])
def test_giants_are_refused_before_they_are_made(name: str, use: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(GIANTS[name].SerializeToString())
    with pytest.raises(InputError, match="out of a shape alone"):
        if use == "fold":
            normdiag.fold(path, output=tmp_path / "out.onnx")
        else:
            normdiag.inspect(path, np.zeros((8, 4, 5, 5), np.float32))
    assert not (tmp_path / "out.onnx").exists()


def test_what_real_graphs_make_is_run() -> None:
    refuse_giants(
        model("big = ConstantOfShape(shape) s = ReduceMax<keepdims = 0>(big) z = Add(y, s)", 1000, 1000).graph, "x"
    )
    refuse_giants(model("z = Identity(y)").graph, "x")
    assert MOST_MADE > 2**28


def test_functions_that_grow_without_measure(tmp_path: Path) -> None:
    """Forty functions, each of which calls the one before twice: a trillion nodes in two kilobytes."""
    functions = []
    for depth in range(40):
        inner, domain = ("Identity", "") if depth == 0 else (f"f{depth - 1}", "own")
        nodes = [helper.make_node(inner, [a], [b], domain=domain) for a, b in (("x", "t"), ("t", "y"))]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"f{depth}", ["x"], ["y"], nodes, opsets))
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("f39", ["x"], ["y"], domain="own")], "g", values[:1], values[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="grow into more than 100000 nodes"):
        load_onnx(tmp_path / "m.onnx")
