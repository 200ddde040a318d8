from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.importers.onnx.site_checks import check_sites, load_text

X = np.random.default_rng(1).normal(1.5, 2, (2, 3, 8)).astype(np.float32)
IMAGE = np.random.default_rng(2).normal(1.5, 2, (2, 4, 3, 5)).astype(np.float32)

CENTRED = "m = ReduceMean<axes=[-1]>(x)  d = Sub(x, m)"
VARIANCE = f"{CENTRED} s = Pow(d, two)  v = ReduceMean<axes=[-1]>(s)  e = Add(v, eps)"
RSTD = f"{VARIANCE} r = Sqrt(e)  q = Reciprocal(r)"
LAYER_NORMS = {
    "torch": f"{VARIANCE} r = Sqrt(e)  n = Div(d, r)  w = Mul(n, gamma)  y = Add(w, beta)",
    "swapped": f"{CENTRED} s = Mul(d, d)  v = ReduceMean<axes=[-1]>(s)  e = Add(eps, v)  r = Sqrt(e)  n = Div(d, r) "
    "w = Mul(gamma, n)  y = Add(beta, w)",
    "reciprocal": f"{RSTD} n = Mul(q, d)  w = Mul(n, gamma)  y = Add(w, beta)",
    "one over": f"{VARIANCE} r = Sqrt(e)  q = Div(one, r)  n = Mul(d, q)  w = Mul(n, gamma)  y = Add(w, beta)",
    "power of minus a half": f"{VARIANCE} q = Pow(e, minus_half)  n = Mul(d, q)  w = Mul(n, gamma)  y = Add(w, beta)",
    "power of a half": f"{VARIANCE} r = Pow(e, half)  n = Div(d, r)  w = Mul(n, gamma)  y = Add(w, beta)",
    "two means": f"{VARIANCE} m2 = ReduceMean<axes=[-1]>(x)  d2 = Sub(x, m2)  r = Sqrt(e)  n = Div(d2, r) "
    "w = Mul(n, gamma)  y = Add(w, beta)",
    "gamma first": f"{VARIANCE} w = Mul(gamma, d)  r = Sqrt(e)  n = Div(w, r)  y = Add(n, beta)",
    "gamma on the reciprocal": f"{RSTD} k = Mul(q, gamma)  n = Mul(d, k)  y = Add(n, beta)",
    "gamma over the root": f"{VARIANCE} r = Sqrt(e)  k = Div(gamma, r)  n = Mul(k, d)  y = Add(n, beta)",
    "tf2onnx": f"{RSTD} k = Mul(q, gamma)  a = Mul(x, k)  b = Mul(m, k)  o = Sub(beta, b)  y = Add(a, o)",
    "through casts": "f = Cast<to=1>(x)  m = ReduceMean<axes=[-1]>(f)  d = Sub(x, m)  s = Pow(d, two) "
    "v = ReduceMean<axes=[-1]>(s)  e = Add(v, eps)  r = Sqrt(e)  n = Div(d, r)  c = Cast<to=1>(n)  w = Mul(c, gamma) "
    "y = Add(w, beta)",
    "flax": "t = ReduceSum<keepdims=0>(x, last)  mm = Mul(t, inv8)  p = Mul(x, x)  u = ReduceSum<keepdims=0>(p, last) "
    "pp = Div(u, eight)  g = Mul(mm, mm)  h = Sub(pp, g)  hh = Max(zero, h)  vv = Unsqueeze(hh, last) "
    "e = Add(vv, eps)  r = Sqrt(e)  q = Reciprocal(r)  k = Mul(q, gamma)  mu = Unsqueeze(mm, last)  d = Sub(x, mu) "
    "n = Mul(d, k)  y = Add(n, beta)",
}


def graph(body: str) -> str:
    return f"g (float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}"


def image(body: str) -> str:
    return f"g (float[2,4,3,5] x) => (float[2,4,3,5] y) {{ {body} }}"


@pytest.mark.parametrize("form", LAYER_NORMS)
def test_layer_norm(form: str, tmp_path: Path) -> None:
    program = load_text(tmp_path, graph(LAYER_NORMS[form]))
    (site,) = program.sites
    layer = site.layer
    assert (layer.kind, layer.origin, layer.eps, layer.channels, layer.normalized_rank) == (
        "layer_norm",
        "decomposed",
        1e-5,
        8,
        1,
    )
    assert (site.input, site.output) == ("x" if form != "through casts" else "f", "y")
    assert layer.gamma is not None and layer.beta is not None
    assert program.activations == ()
    check_sites(program, {"x": X})


@given(swaps=st.lists(st.booleans(), min_size=5, max_size=5), square=st.sampled_from(["Mul(d, d)", "Pow(d, two)"]))
def test_operand_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, swaps: list[bool], square: str
) -> None:
    def pair(op: str, a: str, b: str, swap: bool) -> str:
        return f"{op}({b}, {a})" if swap else f"{op}({a}, {b})"

    body = (
        f"{CENTRED} s = {square}  v = ReduceMean<axes=[-1]>(s)  e = {pair('Add', 'v', 'eps', swaps[0])}  r = Sqrt(e) "
        f"q = Reciprocal(r)  k = {pair('Mul', 'q', 'gamma', swaps[1])}  a = {pair('Mul', 'x', 'k', swaps[2])} "
        f"b = {pair('Mul', 'm', 'k', swaps[3])}  o = Sub(beta, b)  y = {pair('Add', 'a', 'o', swaps[4])}"
    )
    program = load_text(tmp_path_factory.mktemp("swap"), graph(body))
    assert [site.layer.kind for site in program.sites] == ["layer_norm"]
    check_sites(program, {"x": X})


@pytest.mark.parametrize(
    ("tail", "gamma", "beta"),
    [
        ("y = Div(d, r)", False, False),
        ("n = Div(d, r)  y = Mul(n, gamma)", True, False),
        ("n = Div(d, r)  y = Add(n, beta)", False, True),
    ],
)
def test_gamma_and_beta_are_optional(tail: str, gamma: bool, beta: bool, tmp_path: Path) -> None:
    program = load_text(tmp_path, graph(f"{VARIANCE} r = Sqrt(e)  {tail}"))
    (site,) = program.sites
    assert (site.layer.gamma is not None, site.layer.beta is not None) == (gamma, beta)
    assert site.layer.channels == 8
    check_sites(program, {"x": X})


def test_axes_as_an_input(tmp_path: Path) -> None:
    body = (
        LAYER_NORMS["torch"]
        .replace("ReduceMean<axes=[-1]>(x)", "ReduceMean(x, last)")
        .replace("ReduceMean<axes=[-1]>(s)", "ReduceMean(s, last)")
    )
    program = load_text(tmp_path, graph(body), opset=18)
    assert [site.layer.kind for site in program.sites] == ["layer_norm"]
    check_sites(program, {"x": X})


RMS = "p = Pow(x, two)  v = ReduceMean<axes=[-1]>(p)  e = Add(v, eps)  r = Sqrt(e)"
RMS_NORMS = {
    "torch": f"{RMS} q = Reciprocal(r)  n = Mul(x, q)  y = Mul(n, gamma)",
    "gamma on the left": f"{RMS} q = Reciprocal(r)  n = Mul(q, x)  y = Mul(gamma, n)",
    "division": f"{RMS} n = Div(x, r)  y = Mul(n, gamma)",
    "one over": f"{RMS} q = Div(one, r)  n = Mul(x, q)  y = Mul(n, gamma)",
    "product": "p = Mul(x, x)  v = ReduceMean<axes=[-1]>(p)  e = Add(eps, v)  r = Sqrt(e) "
    "n = Div(x, r)  y = Mul(n, gamma)",
    "cast around": "f = Cast<to=1>(x)  p = Pow(f, two)  v = ReduceMean<axes=[-1]>(p)  e = Add(v, eps)  r = Sqrt(e) "
    "n = Div(f, r)  c = Cast<to=1>(n)  y = Mul(gamma, c)",
    "mixed casts": "f = Cast<to=1>(x)  p = Pow(f, two)  v = ReduceMean<axes=[-1]>(p)  e = Add(v, eps)  r = Sqrt(e) "
    "q = Reciprocal(r)  n = Mul(x, q)  y = Mul(gamma, n)",
    "a late cast": "p = Pow(x, two)  v = ReduceMean<axes=[-1]>(p)  e = Add(v, eps)  r = Sqrt(e)  f = Cast<to=1>(x) "
    "n = Div(f, r)  y = Mul(gamma, n)",
    "gamma less one": f"{RMS} q = Reciprocal(r)  n = Mul(x, q)  k = Add(gamma, one)  y = Mul(n, k)",
}


@pytest.mark.parametrize("form", RMS_NORMS)
def test_rms_norm(form: str, tmp_path: Path) -> None:
    program = load_text(tmp_path, graph(RMS_NORMS[form]))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.eps, site.layer.channels, site.output) == ("rms_norm", 1e-5, 8, "y")
    assert site.layer.beta is None
    producer = next((i for i, node in enumerate(program.proto.graph.node) if site.input in node.output), -1)
    assert producer < min(site.nodes), "its input exists before its first node runs"
    check_sites(program, {"x": X})


SPATIAL = (
    "m = ReduceMean<axes=[2,3]>(x)  d = Sub(x, m)  s = Mul(d, d) "
    "v = ReduceMean<axes=[2,3]>(s)  e = Add(v, eps)  r = Sqrt(e)"
)


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm(affine: bool, tmp_path: Path) -> None:
    tail = "n = Div(d, r)  w = Mul(n, gamma411)  y = Add(w, beta411)" if affine else "y = Div(d, r)"
    program = load_text(tmp_path, image(f"{SPATIAL} {tail}"))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.channels, site.channel_axis, site.axes) == ("instance_norm", 4, 1, (2, 3))
    check_sites(program, {"x": IMAGE})


def test_layer_norm_over_the_channels_of_an_image(tmp_path: Path) -> None:
    """ConvNeXt's LayerNorm2d."""
    body = SPATIAL.replace("[2,3]", "[1]") + " n = Div(d, r)  w = Mul(gamma411, n)  y = Add(w, beta411)"
    program = load_text(tmp_path, image(body))
    (site,) = program.sites
    assert (site.layer.kind, site.axes, site.layer.normalized_rank) == ("layer_norm", (1,), 1)
    assert site.layer.gamma is not None and site.layer.gamma.shape == (4,)
    assert "axis 1" in site.layer.notes[0]
    check_sites(program, {"x": IMAGE})


def test_group_norm_of_one_group(tmp_path: Path) -> None:
    body = SPATIAL.replace("[2,3]", "[1,2,3]") + " n = Div(d, r)  w = Mul(gamma411, n)  y = Add(w, beta411)"
    program = load_text(tmp_path, image(body))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.groups, site.layer.channels) == ("group_norm", 1, 4)
    check_sites(program, {"x": IMAGE})


@pytest.mark.parametrize("back", ["z = Shape(x)  b = Reshape(i, z)", "b = Reshape(i, target)"])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_around_instance_normalization(affine: bool, back: str, tmp_path: Path) -> None:
    tail = "w = Mul(b, gamma411)  y = Add(beta411, w)" if affine else "y = Identity(b)"
    body = f"a = Reshape(x, forth)  i = InstanceNormalization(a, ones2, zeros2)  {back}  {tail}"
    program = load_text(tmp_path, image(body), forth=np.array([0, 2, -1]), target=np.array([2, 4, 3, 5]))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.origin, site.layer.groups, site.input) == ("group_norm", "decomposed", 2, "x")
    assert (site.layer.gamma is not None) == affine
    assert site.layer.channels == 4
    check_sites(program, {"x": IMAGE})


def test_group_norm_around_moments(tmp_path: Path) -> None:
    inner = SPATIAL.replace("(x)", "(a)").replace("(x,", "(a,").replace("[2,3]", "[2,3,4]")
    body = (
        f"a = Reshape(x, forth)  {inner}  n = Div(d, r)  b = Reshape(n, target) "
        f"w = Mul(b, gamma411)  y = Add(w, beta411)"
    )
    program = load_text(tmp_path, image(body), forth=np.array([2, 2, 2, 3, 5]), target=np.array([2, 4, 3, 5]))
    assert [(site.layer.kind, site.layer.groups) for site in program.sites] == [("group_norm", 2)]
    check_sites(program, {"x": IMAGE})


def test_group_norm_with_channels_last(tmp_path: Path) -> None:
    inner = SPATIAL.replace("(x)", "(a)").replace("(x,", "(a,").replace("[2,3]", "[1,2,4]")
    body = (
        f"a = Reshape(x, forth)  {inner}  n = Div(d, r)  b = Reshape(n, target)  w = Mul(b, gamma4)  y = Add(w, beta4)"
    )
    text = f"g (float[2,3,5,4] x) => (float[2,3,5,4] y) {{ {body} }}"
    program = load_text(tmp_path, text, forth=np.array([2, 3, 5, 2, 2]), target=np.array([2, 3, 5, 4]))
    assert [(s.layer.kind, s.layer.groups, s.channel_axis) for s in program.sites] == [("group_norm", 2, -1)]
    check_sites(program, {"x": IMAGE.reshape(2, 3, 5, 4)})


def test_instance_normalization_between_other_reshapes_is_itself(tmp_path: Path) -> None:
    body = "a = Reshape(x, forth)  i = InstanceNormalization(a, ones2, zeros2)  y = Reshape(i, target)"
    text = f"g (float[2,4,3,5] x) => (float[2,60] y) {{ {body} }}"
    program = load_text(tmp_path, text, forth=np.array([0, 2, -1]), target=np.array([2, 60]))
    assert [site.layer.kind for site in program.sites] == ["instance_norm"]
    check_sites(program, {"x": IMAGE})


def test_batch_statistics_are_told(tmp_path: Path) -> None:
    program = load_text(tmp_path, image(SPATIAL.replace("[2,3]", "[0,2,3]") + " y = Div(d, r)"))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.training, site.layer.has_statistics) == ("batch_norm", True, False)
    assert not site.watchable and "batch" in (site.obstacle or "")


def test_a_second_reader_keeps_gamma_out(tmp_path: Path) -> None:
    """Between the normalization and a product that is not its alone, somebody else sees the tensor without gamma."""
    body = f"{VARIANCE} r = Sqrt(e)  n = Div(d, r)  w = Mul(n, gamma)  y = Add(w, n)"
    program = load_text(tmp_path, graph(body))
    (site,) = program.sites
    assert site.layer.gamma is None and site.output == "n"
    check_sites(program, {"x": X})


def test_a_positional_embedding_is_no_beta(tmp_path: Path) -> None:
    program = load_text(tmp_path, graph(f"{VARIANCE} r = Sqrt(e)  n = Div(d, r)  y = Add(n, place)"), place=X[:1])
    (site,) = program.sites
    assert site.layer.beta is None and site.output == "n"


NO_NORMS = {
    "L2 normalization": "r = ReduceL2<axes=[-1]>(x)  y = Div(x, r)",
    "L2 normalization with a floor": "r = ReduceL2<axes=[-1]>(x)  f = Max(r, eps)  y = Div(x, f)",
    "L2 normalization written out": "p = Pow(x, two)  t = ReduceSum(p, last)  r = Sqrt(t)  y = Div(x, r)",
    "L2 normalization with eps": "p = Mul(x, x)  t = ReduceSum(p, last)  e = Add(t, eps)  r = Sqrt(e)  y = Div(x, r)",
    "L2 normalization by ReduceSumSquare": "t = ReduceSumSquare<axes=[-1]>(x)  e = Add(t, eps) "
    "r = Sqrt(e)  y = Div(x, r)",
    "mean square without eps": "p = Mul(x, x)  v = ReduceMean<axes=[-1]>(p)  r = Sqrt(v)  y = Div(x, r)",
    "centring alone": f"{CENTRED} y = Mul(d, gamma)",
    "scaled by its variance": f"{VARIANCE} y = Div(d, e)",
    "a sum over the wrong number": "p = Mul(x, x)  t = ReduceSum(p, last)  v = Mul(t, sixth) "
    "e = Add(v, eps)  r = Sqrt(e)  y = Div(x, r)",
    "mean and variance over different axes": "m = ReduceMean<axes=[1]>(x)  d = Sub(x, m)  s = Mul(d, d) "
    "v = ReduceMean<axes=[-1]>(s)  e = Add(v, eps)  r = Sqrt(e)  y = Div(d, r)",
    "the deviation of another tensor": f"{VARIANCE} r = Sqrt(e)  o = Exp(x) "
    "n = ReduceMean<axes=[-1]>(o)  c = Sub(o, n)  y = Div(c, r)",
    "the root mean square of another tensor": f"{RMS} o = Exp(x)  y = Div(o, r)",
    "the whole tensor": f"{VARIANCE} r = Sqrt(e)  y = Div(d, r)".replace("[-1]", "[0,1,2]"),
    "standardized weights": "m = ReduceMean<axes=[-1]>(weight)  d = Sub(weight, m)  s = Mul(d, d) "
    "v = ReduceMean<axes=[-1]>(s) "
    "e = Add(v, eps)  r = Sqrt(e)  n = Div(d, r)  y = MatMul(x, n)",
    "a softmax": "m = ReduceMax<axes=[-1]>(x)  d = Sub(x, m)  e = Exp(d)  s = ReduceSum(e, last)  y = Div(e, s)",
    "a decomposed BatchNorm": "d = Sub(x, beta)  n = Div(d, gamma)  w = Mul(n, gamma)  y = Add(w, beta)",
}


@pytest.mark.parametrize("trap", NO_NORMS)
def test_no_normalization_layer(trap: str, tmp_path: Path) -> None:
    program = load_text(tmp_path, graph(NO_NORMS[trap]), weight=np.ones((8, 8), np.float32))
    assert program.sites == ()
