from pathlib import Path

import numpy as np
import pytest

from normdiag.ops import Activation
from tests.graph.importers.onnx.site_checks import check_sites, load_text

X = np.linspace(-7, 7, 2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)

ERF = "a = Div(x, sqrt2)  b = Erf(a)  c = Add(b, one)"
INNER = "p = Pow(x, three)  q = Mul(cubic, p)  r = Add(x, q)  s = Mul(r, gelu_scale)  t = Tanh(s)  u = Add(one, t)"
# name: (body, kind); the opset is 24 so that every operator exists.
FORMS = {
    "relu": ("y = Relu(x)", "relu"),
    "relu as max": ("y = Max(x, zero)", "relu"),
    "relu as clip": ("y = Clip(x, zero)", "relu"),
    "sigmoid": ("y = Sigmoid(x)", "sigmoid"),
    "tanh": ("y = Tanh(x)", "tanh"),
    "softplus": ("y = Softplus(x)", "softplus"),
    "leaky relu": ("y = LeakyRelu<alpha=0.2>(x)", "leaky_relu"),
    "elu": ("y = Elu<alpha=0.7>(x)", "elu"),
    "selu": ("y = Selu(x)", "selu"),
    "hard sigmoid": ("y = HardSigmoid(x)", "hard_sigmoid"),
    "hard sigmoid written out": ("a = Add(x, three)  b = Clip(a, zero, six)  y = Div(b, six)", "hard_sigmoid"),
    "hard sigmoid by a clip to 1": ("a = Mul(x, sixth)  b = Add(half, a)  y = Clip(b, zero, one)", "hard_sigmoid"),
    "hard swish": ("y = HardSwish(x)", "hard_swish"),
    "hard swish of hard sigmoid": ("a = HardSigmoid<alpha=0.16666667, beta=0.5>(x)  y = Mul(a, x)", "hard_swish"),
    "hard swish written out": (
        "a = Add(x, three)  b = Clip(a, zero, six)  c = Mul(x, b)  y = Div(c, six)",
        "hard_swish",
    ),
    "hard swish divided first": (
        "a = Add(three, x)  b = Clip(a, zero, six)  c = Div(b, six)  y = Mul(c, x)",
        "hard_swish",
    ),
    "relu6": ("y = Clip(x, zero, six)", "relu6"),
    "relu6 as min of max": ("a = Max(x, zero)  y = Min(a, six)", "relu6"),
    "relu6 as max of min": ("a = Min(six, x)  y = Max(zero, a)", "relu6"),
    "hard tanh": ("y = Clip(x, minus_half, half)", "clip"),
    "gelu": ("y = Gelu(x)", "gelu"),
    "gelu tanh": ('y = Gelu<approximate="tanh">(x)', "gelu_tanh"),
    "gelu of torch": (f"{ERF} d = Mul(x, c)  y = Mul(d, half)", "gelu"),
    "gelu of tf": (f"{ERF} d = Mul(half, x)  y = Mul(d, c)", "gelu"),
    "gelu, outer half": (f"{ERF} d = Mul(half, c)  y = Mul(x, d)", "gelu"),
    "gelu by multiplication": (
        "a = Mul(rsqrt2, x)  b = Erf(a)  c = Add(one, b)  d = Mul(c, x)  y = Mul(d, half)",
        "gelu",
    ),
    "tanh gelu": (f"{INNER} v = Mul(x, u)  y = Mul(half, v)", "gelu_tanh"),
    "tanh gelu, half first": (f"{INNER} v = Mul(x, half)  y = Mul(v, u)", "gelu_tanh"),
    "tanh gelu of jax": (
        "a = Mul(cubic, x)  b = Mul(x, a)  c = Mul(x, b)  d = Add(x, c)  e = Mul(gelu_scale, d)  f = Tanh(e) "
        "g = Add(one, f)  h = Mul(half, g)  y = Mul(x, h)",
        "gelu_tanh",
    ),
    "silu": ("a = Sigmoid(x)  y = Mul(x, a)", "silu"),
    "silu swapped": ("a = Sigmoid(x)  y = Mul(a, x)", "silu"),
    "quick gelu": ("a = Mul(quick, x)  b = Sigmoid(a)  y = Mul(x, b)", "silu"),
    "swish": ("y = Swish(x)", "silu"),
    "mish": ("y = Mish(x)", "mish"),
    "mish written out": ("a = Softplus(x)  b = Tanh(a)  y = Mul(b, x)", "mish"),
}
NEW = {"swish"}  # not in the installed onnxruntime for certain


@pytest.mark.parametrize("form", FORMS)
def test_activation(form: str, tmp_path: Path) -> None:
    body, kind = FORMS[form]
    program = load_text(tmp_path, f"g (float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}", 24 if form in NEW else 20)
    (site,) = program.activations
    assert (site.function.kind, site.input, site.output) == (kind, "x", "y")
    assert program.sites == ()
    if form not in NEW:
        check_sites(program, {"x": X})


def test_parameters(tmp_path: Path) -> None:
    program = load_text(
        tmp_path, "g (float[2,8] x) => (float[2,8] y) { a = HardSigmoid(x)  b = Selu(a)  c = Elu(b)  y = LeakyRelu(c) }"
    )
    assert [site.function for site in program.activations] == [
        Activation("hard_sigmoid", 0.2, 0.5),
        Activation("selu", 1.6732632, 1.050701),
        Activation("elu", 1.0),
        Activation("leaky_relu", 0.01),
    ]


def test_clip_with_attributes(tmp_path: Path) -> None:
    text = (
        "g (float[2,8] x) => (float[2,8] y) { a = Clip<min=0.0, max=6.0>(x)  y = Clip<min=0.0, max=3.4028235e38>(a) }"
    )
    program = load_text(tmp_path, text, 10)
    assert [site.function.kind for site in program.activations] == ["relu6", "relu"]


@pytest.mark.parametrize(
    "body",
    [
        "y = Softmax(x)",
        "y = Clip(x, eps)",
        "y = Max(x, eps)",
        "y = Min(x, six)",
        "a = Neg(x)  y = Clip(x, a)",
        "y = Erf(x)",
        "y = Exp(x)",
    ],
)
def test_no_activation(body: str, tmp_path: Path) -> None:
    assert load_text(tmp_path, f"g (float[2,8] x) => (float[2,8] y) {{ {body} }}", 20).activations == ()


def test_a_clip_of_integers_is_no_activation(tmp_path: Path) -> None:
    text = "g (int64[2,8] x) => (int64[2,8] y) { y = Clip(x, low, high) }"
    assert load_text(tmp_path, text, low=np.array(0), high=np.array(6)).activations == ()


def test_a_gate_of_another_tensor_stays_itself(tmp_path: Path) -> None:
    """Squeeze-and-excitation and gated linear units multiply with the sigmoid of something else."""
    program = load_text(tmp_path, "g (float[2,8] x, float[2,8] z) => (float[2,8] y) { a = Sigmoid(z)  y = Mul(x, a) }")
    assert [(site.function.kind, site.input) for site in program.activations] == [("sigmoid", "z")]


def test_a_sigmoid_that_others_read_is_reported_beside_the_silu(tmp_path: Path) -> None:
    program = load_text(tmp_path, "g (float[2,8] x) => (float[2,8] y, float[2,8] a) { a = Sigmoid(x)  y = Mul(x, a) }")
    assert [site.function.kind for site in program.activations] == ["sigmoid", "silu"]


def test_an_activation_of_weights_is_none_of_the_network(tmp_path: Path) -> None:
    text = "g (float[2,8] x) => (float[2,8] y) { a = Softplus(gamma)  y = Mul(x, a) }"
    assert load_text(tmp_path, text).activations == ()


@pytest.mark.parametrize(
    ("op", "function", "watchable"),
    [
        ("Gelu(x)", Activation("gelu"), True),
        ("FastGelu(x)", Activation("gelu_tanh"), True),
        ("QuickGelu(x)", Activation("silu", 1.702), True),
        ("BiasGelu(x, beta)", Activation("gelu"), False),
    ],
)
def test_microsoft(op: str, function: Activation, watchable: bool, tmp_path: Path) -> None:
    text = f"g (float[2,8] x) => (float[2,8] y) {{ y = com.microsoft.{op} }}"
    (site,) = load_text(tmp_path, text, domains=("com.microsoft",)).activations
    assert (site.function, site.watchable) == (function, watchable)
    if watchable:
        check_sites(load_text(tmp_path, text, domains=("com.microsoft",)), {"x": X[0, :2]})


UNITS = {
    "linear": ("(float[2,3,8] x)", "a = MatMul(x, square)  b = Add(a, gamma)  y = Relu(b)", -1),
    "layer norm": ("(float[2,3,8] x)", "a = LayerNormalization(x, gamma)  y = Relu(a)", -1),
    "convolution over a sequence": ("(float[2,4,8] x)", "a = Conv(x, kernel)  y = Relu(a)", 1),
    "batch norm": ("(float[2,4,8] x)", "a = BatchNormalization(x, gamma4, beta4, mean4, var4)  y = Relu(a)", 1),
    "image": ("(float[2,4,8,8] x)", "y = Relu(x)", 1),
    "tokens": ("(float[2,4,8] x)", "y = Relu(x)", -1),
    "flat": ("(float[2,4] x)", "y = Relu(x)", 1),
    "transposed": ("(float[2,4,8] x)", "a = Conv(x, kernel)  b = Transpose<perm=[0,2,1]>(a)  y = Relu(b)", 2),
    "flattened": ("(float[2,4,8] x)", "a = Conv(x, kernel)  b = Flatten(a)  y = Relu(b)", 1),
    "residual": ("(float[2,4,8] x)", "a = Conv(x, kernel)  b = Add(a, x)  c = Mul(b, half)  y = Relu(c)", 1),
    "pooled": ("(float[2,4,8] x)", "a = Conv(x, kernel)  b = ReduceMean<axes=[2], keepdims=0>(a)  y = Relu(b)", 1),
}


@pytest.mark.parametrize("case", UNITS)
def test_unit_axis(case: str, tmp_path: Path) -> None:
    inputs, body, axis = UNITS[case]
    arrays = {"square": np.eye(8, dtype=np.float32), "kernel": np.ones((4, 4, 1), np.float32)}
    program = load_text(tmp_path, f"g {inputs} => (float y) {{ {body} }}", **arrays)
    assert [site.unit_axis for site in program.activations] == [axis]
