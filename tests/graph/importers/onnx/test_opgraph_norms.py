import numpy as np
import pytest
from onnx import helper, numpy_helper

from normdiag.records import Norm, NormLayer, Opaque, ScaleShift
from tests.graph.importers.onnx.graph_checks import by_output, check_text, only, read, read_text, why
from tests.graph.importers.onnx.site_checks import load_program
from tests.nets.onnx.text import from_text

BATCH_NORM = "BatchNormalization(x, gamma4, beta4, mean4, var4)"
RNG = np.random.default_rng(1)
COLUMN = (4, 1, 1)
ARRAYS = {
    "mu": RNG.normal(size=COLUMN).astype(np.float32),
    "sigma": RNG.uniform(0.5, 2, COLUMN).astype(np.float32),
    "variance": RNG.uniform(0.5, 2, COLUMN).astype(np.float32),
    "gamma_": RNG.normal(size=COLUMN).astype(np.float32),
    "beta_": RNG.normal(size=COLUMN).astype(np.float32),
    "row": RNG.normal(size=5).astype(np.float32),
    "plane": RNG.normal(size=(3, 5)).astype(np.float32),
    "nothing": np.zeros(COLUMN, np.float32),
}


def image(body: str) -> str:
    return f"g (float[N,4,3,5] x) => (y) {{ {body} }}"


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15, 22])
def test_batch_norm(opset: int) -> None:
    graph = check_text(image(f"y = {BATCH_NORM}"), opset)
    op = only(graph, Norm)
    assert (op.kind, op.operator, op.inputs) == ("norm", "BatchNormalization", ("x",))
    assert isinstance(op.detail, Norm)
    assert op.detail.obstacle is None
    assert (op.detail.gamma.name, op.detail.beta.name) == ("gamma4", "beta4")
    assert op.detail.layer.name == op.name


def test_eps_is_the_stored_float() -> None:
    """0.1 is none: a model in double precision would tell the difference."""
    text = "g (double[N,4,3] x) => (y) { y = BatchNormalization<epsilon=0.1>(x, g, b, m, v) }"
    model = from_text(text, **{name: np.full(4, 0.3) for name in "gbmv"})
    detail = only(read(model), Norm).detail
    assert isinstance(detail, Norm)
    np.testing.assert_allclose(detail.scale, 0.3 / np.sqrt(0.3 + np.float64(np.float32(0.1))), 1e-15)


def test_batch_norm_of_two_dimensions() -> None:
    check_text("g (float[N,4] x) => (y) { y = BatchNormalization(x, gamma4, beta4, mean4, var4) }")


@pytest.mark.parametrize(
    ("body", "opset", "obstacle"),
    [
        ("y, m, v = BatchNormalization<training_mode=1>(x, gamma4, beta4, mean4, var4)", 15, "training mode"),
        ("y, m, v = BatchNormalization(x, gamma4, beta4, mean4, var4)", 9, "training mode"),
        ("g = Add(gamma4, z)  y = BatchNormalization(x, g, beta4, mean4, var4)", 15, "its scale is computed"),
        ("y = BatchNormalization(x, gamma4, beta4, mean4, z)", 15, "its variance is computed"),
        ("v = Relu(var4)  y = BatchNormalization(x, gamma4, beta4, mean4, v)", 15, "its variance is computed"),
        ("y = BatchNormalization(x, gamma4, beta4, mean4, negative)", 15, "negative"),
        ("y = BatchNormalization(x, gamma4, infinite, mean4, var4)", 15, "not finite"),
        ("q = DequantizeLinear(q4, s)  y = BatchNormalization(x, q, beta4, mean4, var4)", 15, "its scale is quantized"),
    ],
)
def test_batch_norm_that_is_no_fixed_map(body: str, opset: int, obstacle: str) -> None:
    text = f"g (float[N,4,3,5] x, float[4] z) => (y) {{ {body} }}"
    arrays = {
        "negative": np.array([1, 1, -1, 1], np.float32),
        "infinite": np.array([1, 1, np.inf, 1], np.float32),
        "q4": np.array([1, 2, 3, 4], np.int8),
        "s": np.float32(0.5),
    }
    detail = only(read_text(text, opset, **arrays), Norm).detail
    assert isinstance(detail, Norm)
    assert detail.obstacle is not None
    assert obstacle in detail.obstacle
    assert detail.scale is None


def test_batch_norm_of_other_channels() -> None:
    detail = only(read_text("g (float[N,5,3] x) => (y) { y = " + BATCH_NORM + " }"), Norm).detail
    assert isinstance(detail, Norm)
    assert "channels" in (detail.obstacle or "")


def test_old_batch_norm_stays() -> None:
    detail = only(read_text(image(f"y = {BATCH_NORM}"), 6), Norm).detail
    assert isinstance(detail, Norm)
    assert "operator set 6" in (detail.obstacle or "")


def test_statistics_computed_from_constants() -> None:
    """Sqrt and the like of what is stored: evaluated, with the tensor that the operation reads as its name."""
    body = "s = Sqrt(var4)  v = Mul(s, s)  g = Transpose(gamma4)  y = BatchNormalization(x, g, beta4, mean4, v)"
    detail = only(check_text(image(body)), Norm).detail
    assert isinstance(detail, Norm)
    assert detail.obstacle is None
    assert detail.gamma is not None
    assert (detail.gamma.name, detail.gamma.shape) == ("g", (4,))


@pytest.mark.parametrize(
    ("call", "opset", "kind", "gamma", "beta"),
    [
        ("LayerNormalization(x, five, five)", 17, "layer_norm", (5,), (5,)),
        ("LayerNormalization<axis=2>(x, plane)", 17, "layer_norm", (3, 5), None),
        ("RMSNormalization(x, five)", 23, "rms_norm", (5,), None),
        ("InstanceNormalization(x, gamma4, beta4)", 17, "instance_norm", (4,), (4,)),
        ("GroupNormalization<num_groups=2>(x, gamma4, beta4)", 21, "group_norm", (4,), (4,)),
    ],
)
def test_other_norms(call: str, opset: int, kind: str, gamma: tuple[int, ...], beta: tuple[int, ...] | None) -> None:
    graph = read_text(image(f"y = {call}"), opset, five=np.ones(5, np.float32), plane=np.ones((3, 5), np.float32))
    detail = only(graph, Norm).detail
    assert isinstance(detail, Norm)
    assert (detail.layer.kind, detail.scale, detail.obstacle) == (kind, None, None)
    assert detail.gamma is not None
    assert (detail.gamma.shape, detail.gamma.obstacle) == (gamma, None)
    assert (detail.beta.shape if detail.beta else None) == beta


def test_one_gamma_for_each_group_takes_up_nothing() -> None:
    graph = read_text(image("y = GroupNormalization<num_groups=2>(x, ones2, zeros2)"), 18)
    detail = only(graph, Norm).detail
    assert isinstance(detail, Norm)
    assert detail.gamma is not None
    assert detail.gamma.obstacle == "is stored once for each group"


DECOMPOSED = (
    "m = ReduceMean<axes=[-1]>(x)  d = Sub(x, m)  s = Pow(d, two)  v = ReduceMean<axes=[-1]>(s)  e = Add(v, eps)  "
    "r = Sqrt(e)  n = Div(d, r)  w = Mul(n, row)  y = Add(w, row)"
)


def test_decomposed_layer_norm_is_one_operation() -> None:
    graph = check_text(image(DECOMPOSED), row=ARRAYS["row"])
    op = only(graph, Norm)
    assert (op.inputs, op.outputs, op.nodes) == (("x",), ("y",), tuple(range(9)))
    assert isinstance(op.detail, Norm)
    assert op.detail.gamma is not None
    assert op.detail.beta is not None
    assert op.detail.gamma.name == op.detail.beta.name == "row"
    # The one tensor is read twice by the same operation.
    assert op.detail.gamma.shared_with == (op.name,)


def test_decomposed_norm_in_use_elsewhere_is_taken_apart() -> None:
    graph = check_text(image(DECOMPOSED + " z = Relu(d)").replace("(y)", "(y, z)"), row=ARRAYS["row"])
    assert not [op for op in graph.ops if isinstance(op.detail, Norm)]
    ((layer, reason),) = graph.unreached
    assert layer.kind == "layer_norm"
    assert "'d' is used elsewhere" in reason


@pytest.mark.parametrize(("gamma", "along"), [("gamma411", True), ("row", False)])
def test_layer_norm_over_another_axis_takes_its_gamma_along_where_that_runs_along_it(gamma: str, along: bool) -> None:
    body = DECOMPOSED.replace("[-1]", "[1]").replace("row", gamma)
    detail = only(check_text(image(body), row=ARRAYS["row"]), Norm).detail
    assert isinstance(detail, Norm)
    assert detail.gamma is not None
    assert (detail.gamma.obstacle is None) == along


# name: (body, operator, whether it scales and shifts)
CHAINS = {
    "four steps": ("a = Sub(x, mu)  b = Div(a, sigma)  c = Mul(b, gamma_)  y = Add(c, beta_)", True),
    "variance": (
        "e = Add(variance, eps)  r = Sqrt(e)  a = Sub(x, mu)  b = Div(a, r)  c = Mul(gamma_, b)  y = Add(beta_, c)",
        True,
    ),
    "reciprocal": (
        "e = Add(variance, eps)  r = Pow(e, half)  q = Reciprocal(r)  k = Mul(q, gamma_)  a = Sub(x, mu)  b = Mul(a, k)"
        "  y = Add(b, beta_)",
        True,
    ),
    "subtracted from": ("a = Sub(mu, x)  y = Mul(a, gamma_)", True),
    "with numbers": ("a = Mul(x, two)  b = Mul(a, gamma_)  c = Add(b, beta_)  d = Neg(c)  y = Add(d, half)", True),
    "scale": ("y = Mul(x, gamma_)", False),
    "bias": ("y = Add(beta_, x)", False),
    "twice a scale": ("a = Mul(x, gamma_)  y = Div(a, sigma)", False),
    "last axis": ("a = Mul(x, row)  y = Sub(a, row)", True),
    "no shift": ("y = Mul(x, gamma_)", False),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chain(case: str) -> None:
    body, norm = CHAINS[case]
    op = only(check_text(image(body), **ARRAYS), ScaleShift)
    assert (op.kind, op.inputs, op.outputs) == ("scale_shift", ("x",), ("y",))
    assert isinstance(op.detail, ScaleShift)
    assert (op.detail.norm is not None) == norm
    if op.detail.norm is not None:
        assert isinstance(op.detail.norm, NormLayer)
        layer = op.detail.norm
        assert (layer.kind, layer.origin, layer.name) == ("batch_norm", "decomposed", op.name)


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("a = Mul(x, gamma_)  y = Add(a, beta_)", "y, a"),
        ("a = Mul(x, gamma_)  y = Add(a, beta_)  z = Shape(a)", "y, z"),
        ("a = Mul(x, gamma_)  y = Add(a, beta_)  z = Relu(a)", "y, z"),
        ("a = Mul(x, gamma_)  y = Add(a, row)", "y"),
    ],
)
def test_chain_that_breaks(body: str, outputs: str) -> None:
    graph = check_text(image(body).replace("(y)", f"({outputs})"), **ARRAYS)
    assert [op.operator for op in graph.ops if isinstance(op.detail, ScaleShift)] == ["Mul", "Add"]


@pytest.mark.parametrize(
    "body",
    [
        "y = Div(gamma_, x)",
        "y = Div(two, x)",
        "y = Div(x, nothing)",
        "y = Mul(x, plane)",
        "y = Mul(x, x)",
    ],
)
def test_what_is_no_chain(body: str) -> None:
    graph = read_text(image(body), **ARRAYS)
    assert not [op for op in graph.ops if isinstance(op.detail, ScaleShift)]
    assert why(graph, "y")


@pytest.mark.parametrize(
    ("body", "scale", "shift"),
    [
        ("y = Mul(x, two)", 2, 0),
        ("a = Add(x, half)  y = Mul(a, two)", 2, 1),
        ("a = Neg(x)  b = Sub(two, a)  y = Div(b, half)", 2, 4),
    ],
)
def test_numbers_alone_are_a_map_and_no_norm(body: str, scale: float, shift: float) -> None:
    (op,) = check_text(image(body), **ARRAYS).ops
    assert isinstance(op.detail, ScaleShift) and op.detail.norm is None
    assert op.detail.scale.shape == (1, 1, 1, 1)
    assert (op.detail.scale.item(), op.detail.shift.item()) == (scale, shift)


@pytest.mark.parametrize("declared", ["float[N,C,3,5]", "float[N,1,3,5]", "float"])
def test_a_constant_that_may_widen_its_input_is_no_chain(declared: str) -> None:
    graph = read_text(f"g ({declared} x) => (y) {{ y = Mul(x, gamma_) }}", **ARRAYS)
    assert isinstance(by_output(graph, "y").detail, Opaque)


def test_names_are_those_of_inspect(tmp_path) -> None:  # type: ignore[no-untyped-def]
    body = f"a = {BATCH_NORM}  b = BatchNormalization(a, gamma4, beta4, mean4, var4)  y = Mul(b, gamma_)"
    model = from_text(image(body), **ARRAYS)
    for node in model.graph.node:
        node.name = "same"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    listed = [site.layer.name for site in load_program(path).sites]
    graph = read(model, path)
    assert [op.name for op in graph.ops if op.kind == "norm"] == listed == ["same", "same_2"]
    assert only(graph, ScaleShift).name == "same_3"


def test_skip_layer_norm_stays() -> None:
    text = "g (float[N,4] x, float[N,4] z) => (y) { y = com.microsoft.SkipLayerNormalization(x, z, gamma4) }"
    model = from_text(text, domains=("com.microsoft",))
    op = only(read(model), Norm)
    assert op.inputs == ("x", "z")
    assert isinstance(op.detail, Norm)
    assert op.detail.obstacle is not None


def test_norms_in_subgraphs_are_out_of_reach() -> None:
    body = helper.make_graph(
        [helper.make_node("BatchNormalization", ["x", "gamma4", "beta4", "mean4", "var4"], ["b"], name="inside")],
        "body",
        [],
        [helper.make_tensor_value_info("b", 1, ["N", 4, 3, 5])],
    )
    model = from_text(image("y = Relu(x)"))
    names = ("gamma4", "beta4", "mean4", "var4")
    model.graph.initializer.extend(numpy_helper.from_array(np.ones(4, np.float32), name) for name in names)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["z"], name="if", then_branch=body, else_branch=body))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    graph = read(model)
    assert [(layer.name, "If, Loop or Scan" in reason) for layer, reason in graph.unreached] == [
        ("inside", True),
        ("inside_2", True),
    ]
    assert graph.pinned["x"] == "a subgraph of If 'if' reads it"
    assert why(graph, "z") == "a branch"
