"""Where features lie, and the ranks that listings of layers need: in bodies of subgraphs, after contrib operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from normdiag.graph.importers.onnx.features import feature_axes, unit_axis
from normdiag.graph.importers.onnx.view import GraphView, view_of
from normdiag.models.onnx.external import TensorReader
from tests.nets.onnx.text import from_text

KERNEL = np.ones((4, 4, 1, 1), np.float32)


def view(text: str, domains: tuple[str, ...] = (), **arrays: np.ndarray) -> GraphView:
    return view_of(from_text(text, 17, domains, **arrays), TensorReader(Path("model.onnx")))


@pytest.mark.parametrize(
    ("body", "axis"),
    [
        ("y = Relu(c)", 1),
        ("y = Transpose <perm=[0, 2, 3, 1]> (c)", 3),
        ("y = ReduceMean <axes=[2, 3], keepdims=0> (c)", 1),
        ("y = ReduceMean <axes=[1], keepdims=0> (c)", None),
        ("y = Flatten(c)", 1),
        ("t = Transpose <perm=[0, 2, 3, 1]> (c) y = MatMul(t, matrix)", -1),
        ("t = Relu(x) y = Add(t, c)", 1),
        ("y = Sin(x)", None),
    ],
)
def test_features_are_followed_through_the_graph(body: str, axis: int | None) -> None:
    text = f"g (float[N,4,5,5] x) => (float y) {{ c = Conv(x, kernel) {body} }}"
    seen = view(text, kernel=KERNEL, matrix=np.ones((4, 4), np.float32))
    assert feature_axes(seen.graph, seen.book).get("y") == axis


@pytest.mark.parametrize(
    ("axis", "rank", "unit"), [(None, 3, -1), (None, 4, 1), (None, 1, 0), (None, None, 1), (-1, 4, -1)]
)
def test_units_without_evidence_are_tokens_or_channels(axis: int | None, rank: int | None, unit: int) -> None:
    assert unit_axis(axis, rank) == unit


def test_operators_of_onnxruntime_keep_the_sizes() -> None:
    text = (
        "g (float[N,7,6] x, float[N,7,6] r) => (float y) "
        "{ n = com.microsoft.SkipLayerNormalization(x, r, gamma6) y = com.microsoft.QuickGelu(n) }"
    )
    assert view(text, ("com.microsoft",), gamma6=np.ones(6, np.float32)).book.listed("y") == (None, 7, 6)


def test_what_a_file_declares_helps_only_where_nothing_follows_from_the_graph() -> None:
    model = from_text(
        "g (float[N,4,5,5] x) => (float y) { a = custom.Op(x) b = Relu(x) y = Add(a, b) }", 17, ("custom",)
    )
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4, 5, 5]))
    model.graph.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]))  # which is wrong
    book = view_of(model, TensorReader(Path("model.onnx"))).book
    assert (book.listed("a"), book.of("a")) == ((None, 4, 5, 5), None)
    assert book.listed("b") == (None, 4, 5, 5)


def test_a_body_knows_what_lies_around_it() -> None:
    body = onnx.parser.parse_graph("then () => (float z) { p = Conv(c, kernel) z = Relu(p) }")
    seen = view("g (float[N,4,5,5] x) => (float c) { c = Conv(x, kernel) }", kernel=KERNEL)
    inner = seen.body(body)
    assert inner.book.listed("z") == (None, 4, 5, 5)
    assert feature_axes(inner.graph, inner.book, feature_axes(seen.graph, seen.book))["z"] == 1
    assert "z" not in seen.book.sizes
