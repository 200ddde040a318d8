from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from normdiag.errors import InputError
from normdiag.folding.onnx import OnnxFoldable
from normdiag.models.onnx import OnnxProgram
from tests.graph.importers.onnx.site_checks import check_sites, load_model, load_text
from tests.nets.onnx.text import CONSTANTS, from_text

IMAGE = np.random.default_rng(2).normal(1.5, 2, (2, 4, 3, 5)).astype(np.float32)
TOKENS = np.random.default_rng(3).normal(1.5, 2, (2, 3, 8)).astype(np.float32)
BATCH_NORM = "BatchNormalization(x, gamma4, beta4, mean4, var4)"


def image(body: str) -> str:
    return f"g (float[2,4,3,5] x) => (float[2,4,3,5] y) {{ {body} }}"


def tokens(body: str) -> str:
    return f"g (float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}"


def check_batch_norm(program: OnnxProgram) -> None:
    (site,) = program.sites
    layer = site.layer
    assert (layer.kind, layer.origin, layer.channels, layer.class_name) == (
        "batch_norm",
        "operator",
        4,
        "BatchNormalization",
    )
    for name, array in zip(
        ("gamma4", "beta4", "mean4", "var4"),
        (layer.gamma, layer.beta, layer.running_mean, layer.running_var),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(array, np.float32), CONSTANTS[name])


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15, 17, 20, 21, 23])
def test_batch_normalization_of_every_operator_set(opset: int, tmp_path: Path) -> None:
    program = load_text(tmp_path, image(f"y = {BATCH_NORM}"), opset)
    check_batch_norm(program)
    layer = program.sites[0].layer
    assert (layer.eps, layer.momentum, layer.training) == (1e-5, 0.1, False)
    if opset >= 9:
        check_sites(program, {"x": IMAGE})


TILED = """g (float[n,4,h,w] x) => (float[n,4,h,w] y) {{
  count = Shape<start=0, end=1>(x)
  ahead = Constant<value_ints=[1, -1]>()
  rest = Shape<start=2>(x)
  sizes = Concat<axis=0>(ahead, rest)
  wide = {reshaped}
  means = Tile(mean4, count)
  vars = Tile(var4, count)
  gammas = Tile(gamma4, count)
  normal = BatchNormalization(wide, gammas, gammas, means, vars)
  shape = Shape(x)
  y = Reshape(normal, shape)
}}"""


def test_an_instance_norm_with_statistics_for_any_number_of_samples(tmp_path: Path) -> None:
    """As torch.onnx writes it where the number is free: parameters repeated as the graph counts the samples."""
    (site,) = load_text(tmp_path, TILED.format(reshaped="Reshape(x, sizes)"), 18).sites
    assert (site.layer.kind, site.layer.channels) == ("instance_norm", 4)
    np.testing.assert_array_equal(np.asarray(site.layer.running_mean, np.float32), CONSTANTS["mean4"])
    assert site.obstacle is not None and "samples cannot be told apart" in site.obstacle


def test_repeated_parameters_without_the_reshape_are_not_read(tmp_path: Path) -> None:
    program = load_text(tmp_path, TILED.format(reshaped="Relu(x)"), 18)
    assert not program.sites and "computed by the graph" in program.skipped[0]


STANDARDIZED = {
    "operator": "n = BatchNormalization<training_mode=1>(w, gamma4, beta4, mean4, var4)",
    "written out": """m = ReduceMean<axes=[1, 2, 3]>(w) d = Sub(w, m) q = Mul(d, d) v = ReduceMean<axes=[1, 2, 3]>(q)
        e = Add(v, eps) s = Sqrt(e) n = Div(d, s)""",
}


@pytest.mark.parametrize("name", STANDARDIZED)
def test_a_standardized_weight_is_no_norm(name: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
    program = load_text(tmp_path, image(f"{STANDARDIZED[name]} y = Conv(x, n)"), 14, w=weight)
    assert not program.sites and not program.skipped
    assert not OnnxFoldable(tmp_path / "model.onnx").graph.unreached


def test_attributes(tmp_path: Path) -> None:
    text = image(
        BATCH_NORM.replace("Normalization(", "Normalization<epsilon=0.001, momentum=0.99>(").join(("y = ", ""))
    )
    layer = load_text(tmp_path, text).sites[0].layer
    assert (layer.eps, layer.momentum) == (0.001, 0.01)


@pytest.mark.parametrize(
    ("opset", "body", "training"),
    [
        (15, f"y, m, v = {BATCH_NORM.replace('(x', '<training_mode=1>(x')}", True),
        (15, f"y = {BATCH_NORM.replace('(x', '<training_mode=0>(x')}", False),
        (9, f"y, m, v, s, t = {BATCH_NORM}", True),
    ],
)
def test_training_mode(opset: int, body: str, training: bool, tmp_path: Path) -> None:
    assert load_text(tmp_path, image(body), opset).sites[0].layer.training is training


WRAPPED = {
    "identity": ("m = Identity(mean4)", "m"),
    "cast": ("m = Cast<to=1>(mean4)", "m"),
    "two steps": ("a = Unsqueeze(mean4, last)  m = Squeeze(a, last)", "m"),
    "reshape": ("a = Reshape(mean4, shape)  m = Reshape(a, last)", "m"),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_parameters_behind_other_nodes(case: str, tmp_path: Path) -> None:
    extra, name = WRAPPED[case]
    text = image(f"{extra}  y = {BATCH_NORM.replace('mean4', name)}")
    check_batch_norm(load_text(tmp_path, text, shape=np.array([2, 2])))


def test_parameters_in_constant_nodes(tmp_path: Path) -> None:
    model = from_text(image(f"y = {BATCH_NORM}"))
    for tensor in list(model.graph.initializer):
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    check_batch_norm(load_model(tmp_path, model))


def test_parameters_that_are_inputs_too(tmp_path: Path) -> None:
    model = from_text(image(f"y = {BATCH_NORM}"))
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, [4]))
    program = load_model(tmp_path, model)
    check_batch_norm(program)
    assert [spec.name for spec in program.inputs] == ["x"]


def nested(depth: int) -> onnx.ModelProto:
    """A BatchNormalization in the then-branch of If nodes, its parameters in the outermost graph."""
    model = from_text(image(f"y = {BATCH_NORM}"))
    body = list(model.graph.node)
    for level in range(depth):
        other = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "else", [], [_value("y")])
        branch = helper.make_graph(body, f"then{level}", [], [_value("y")])
        body = [helper.make_node("If", ["condition"], ["y"], f"choice{level}", then_branch=branch, else_branch=other)]
    del model.graph.node[:]
    model.graph.node.extend(body)
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    return model


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 3, 5])


@pytest.mark.parametrize("depth", [1, 3])
def test_outer_scope(depth: int, tmp_path: Path) -> None:
    program = load_model(tmp_path, nested(depth))
    check_batch_norm(program)
    (site,) = program.sites
    assert (site.where, site.watchable, site.nodes) == ("subgraph", False, ())
    assert "If" in (site.obstacle or "")


def test_an_inner_tensor_hides_the_outer_one(tmp_path: Path) -> None:
    """A subgraph that computes its own 'mean4' has no constant of that name."""
    model = nested(1)
    branch = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
    branch.node.insert(0, helper.make_node("ReduceMean", ["x"], ["mean4"], axes=[0, 2, 3], keepdims=0))
    program = load_model(tmp_path, model)
    assert program.sites == () and "computed" in program.notes[0]


def function_model(function_opset: int = 17, calls: str = "") -> onnx.ModelProto:
    model = from_text(image(f"y = {BATCH_NORM}"))
    names = ["x", "gamma4", "beta4", "mean4", "var4"]
    body = [helper.make_node("BatchNormalization", names, ["n"], "bn"), helper.make_node("Relu", ["n"], ["y"], "act")]
    imports = [helper.make_opsetid("", function_opset)]
    function = helper.make_function("here", "Block", names, ["y"], body, imports)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Block", names, ["y"], "block", domain="here"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("here", 1))
    return model


@pytest.mark.parametrize("opset", [17, 15])
def test_function_bodies(opset: int, tmp_path: Path) -> None:
    program = load_model(tmp_path, function_model(opset))
    check_batch_norm(program)
    assert [site.function.kind for site in program.activations] == ["relu"]
    assert not program.proto.functions
    check_sites(program, {"x": IMAGE})


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    model = function_model()
    model.functions[0].node[1].CopyFrom(
        helper.make_node("Block", ["n", "gamma4", "beta4", "mean4", "var4"], ["y"], domain="here")
    )
    with pytest.raises(InputError, match="calls itself"):
        load_model(tmp_path, model)


def test_functions_that_explode(tmp_path: Path) -> None:
    model = from_text("g (float[2] x) => (float[2] y) { y = Identity(x) }")
    for level in range(30):
        target = ("Identity", "") if level == 29 else (f"F{level + 1}", "here")
        body = [helper.make_node(target[0], [f"t{i}"], [f"t{i + 1}"], domain=target[1]) for i in range(4)]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("here", 1)]
        model.functions.append(helper.make_function("here", f"F{level}", ["t0"], ["t4"], body, imports))
    model.graph.node[0].CopyFrom(helper.make_node("F0", ["x"], ["y"], domain="here"))
    model.opset_import.append(helper.make_opsetid("here", 1))
    with pytest.raises(InputError, match="grow"):
        load_model(tmp_path, model)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(dtype: type, tmp_path: Path) -> None:
    arrays = {name: CONSTANTS[name].astype(dtype) for name in ("gamma4", "beta4", "mean4", "var4")}
    kind = {np.float16: "float16", np.float64: "double"}[dtype]
    program = load_text(tmp_path, image(f"y = {BATCH_NORM}").replace("float[", f"{kind}["), **arrays)
    layer = program.sites[0].layer
    assert {a.dtype for a in (layer.gamma, layer.beta, layer.running_mean, layer.running_var) if a is not None} == {
        np.dtype(dtype)
    }
    assert program.inputs[0].dtype == np.dtype(dtype).name


def test_bfloat16(tmp_path: Path) -> None:
    model = from_text(image(f"y = {BATCH_NORM}"))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, [4], [1.0, 2.0, 3.0, 4.0]))
    layer = load_model(tmp_path, model).sites[0].layer
    assert layer.running_var is not None and layer.running_var.dtype.name == "bfloat16"
    np.testing.assert_array_equal(layer.running_var.astype(np.float32), [1, 2, 3, 4])


def test_computed_parameters_are_noted_not_analysed(tmp_path: Path) -> None:
    text = image("g = Mul(scale, gamma4)  " + f"y = {BATCH_NORM.replace('gamma4', 'g')}")
    program = load_text(tmp_path, text.replace("x)", "x, float[4] scale)", 1))
    assert program.sites == ()
    assert "computed" in program.notes[0] and "not analysed" in program.notes[0]


def test_statistics_of_the_batch_are_told(tmp_path: Path) -> None:
    """track_running_stats=False, as torch.onnx writes it."""
    body = (
        "m = ReduceMean<axes=[0,2,3], keepdims=0>(x)  k = ReduceMean<axes=[0,2,3]>(x)  d = Sub(x, k)  s = Mul(d, d) "
        f"v = ReduceMean<axes=[0,2,3], keepdims=0>(s)  y = {BATCH_NORM.replace('mean4, var4', 'm, v')}"
    )
    program = load_text(tmp_path, image(body))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.training, site.layer.has_statistics) == ("batch_norm", True, False)
    assert site.layer.gamma is not None and not site.watchable
    check_sites(program, {"x": IMAGE})


@pytest.mark.parametrize("opset", [1, 6])
def test_too_old(opset: int, tmp_path: Path) -> None:
    text = image(f"y = {BATCH_NORM.replace('(x', '<is_test=1, consumed_inputs=[0,0,0,1,1]>(x')}")
    program = load_text(tmp_path, text, opset)
    assert program.sites == () and f"operator set {opset}" in program.notes[0]


def test_spatial_zero(tmp_path: Path) -> None:
    program = load_text(tmp_path, image(f"y = {BATCH_NORM.replace('(x', '<spatial=0>(x')}"), 8)
    assert program.sites == () and "spatial=0" in program.notes[0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean4": np.zeros(3, np.float32)}, "shapes"),
        ({"var4": np.zeros((4, 1), np.float32)}, "shapes"),
        ({"gamma4": np.zeros(4, np.int64)}, "not floating-point"),
    ],
)
def test_parameters_that_do_not_fit(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_text(tmp_path, image(f"y = {BATCH_NORM}"), **arrays)


def test_missing_inputs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 inputs"):
        load_text(tmp_path, image("y = BatchNormalization(x, gamma4)"))


def test_instance_normalization(tmp_path: Path) -> None:
    program = load_text(tmp_path, image("y = InstanceNormalization<epsilon=0.01>(x, gamma4, beta4)"))
    (site,) = program.sites
    assert (site.layer.kind, site.layer.eps, site.layer.channels, site.axes) == ("instance_norm", 0.01, 4, (2, 3))
    check_sites(program, {"x": IMAGE})


@pytest.mark.parametrize(
    ("call", "axes", "shape", "beta"),
    [
        ("LayerNormalization(x, gamma, beta)", (-1,), (8,), True),
        ("LayerNormalization<axis=2>(x, gamma)", (-1,), (8,), False),
        ("LayerNormalization<axis=1>(x, gamma38, beta38)", (-2, -1), (3, 8), True),
        ("LayerNormalization<axis=-2>(x, gamma38)", (-2, -1), (3, 8), False),
    ],
)
def test_layer_normalization(
    call: str, axes: tuple[int, ...], shape: tuple[int, ...], beta: bool, tmp_path: Path
) -> None:
    arrays = {"gamma38": TOKENS[0], "beta38": TOKENS[1]}
    program = load_text(tmp_path, tokens(f"y = {call}"), **arrays)
    (site,) = program.sites
    layer = site.layer
    assert (layer.kind, layer.normalized_rank, site.axes) == ("layer_norm", len(axes), axes)
    assert layer.gamma is not None and layer.gamma.shape == shape
    assert (layer.beta is not None, layer.channels) == (beta, int(np.prod(shape)))
    check_sites(program, {"x": TOKENS})


def test_layer_normalization_with_a_computed_scale(tmp_path: Path) -> None:
    program = load_text(tmp_path, "g (float[2,3,8] x, float[8] s) => (float[2,3,8] y) { y = LayerNormalization(x, s) }")
    layer = program.sites[0].layer
    assert layer.gamma is None and layer.channels == 8 and "computed" in layer.notes[0]


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(opset: int, tmp_path: Path) -> None:
    """One scale for each group in opset 18, for each channel from 21."""
    scale = "ones2, bias2" if opset == 18 else "gamma4, beta4"
    body = f"y = GroupNormalization<num_groups=2>(x, {scale})"
    program = load_text(tmp_path, image(body), opset, bias2=np.float32([1, 2]))
    layer = program.sites[0].layer
    assert (layer.kind, layer.groups, layer.channels) == ("group_norm", 2, 4)
    assert layer.gamma is not None and layer.gamma.shape == (4,)
    if opset == 21:
        check_sites(program, {"x": IMAGE})
    else:
        np.testing.assert_array_equal(layer.beta, [1, 1, 2, 2])


def test_rms_normalization(tmp_path: Path) -> None:
    program = load_text(tmp_path, tokens("y = RMSNormalization<epsilon=0.001>(x, gamma)"), 23)
    layer = program.sites[0].layer
    assert (layer.kind, layer.eps, layer.channels, layer.normalized_rank) == ("rms_norm", 0.001, 8, 1)
    check_sites(program, {"x": TOKENS})


@pytest.mark.parametrize(
    ("call", "kind", "eps", "addends"),
    [
        ("SimplifiedLayerNormalization(x, gamma)", "rms_norm", 1e-5, ()),
        ("com.microsoft.SkipLayerNormalization(x, z, gamma, beta)", "layer_norm", 1e-12, ("x", "z")),
        (
            "com.microsoft.SkipLayerNormalization<epsilon=0.1>(x, z, gamma, beta, bias)",
            "layer_norm",
            0.1,
            ("x", "z", "bias"),
        ),
        ("com.microsoft.SkipSimplifiedLayerNormalization(x, z, gamma)", "rms_norm", 1e-12, ("x", "z")),
        ("com.microsoft.SkipSimplifiedLayerNormalization(x, z, gamma, bias)", "rms_norm", 1e-12, ("x", "z", "bias")),
    ],
)
def test_microsoft(call: str, kind: str, eps: float, addends: tuple[str, ...], tmp_path: Path) -> None:
    text = f"g (float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y) {{ y = {call} }}"
    program = load_text(tmp_path, text, domains=("com.microsoft",), bias=CONSTANTS["beta"])
    (site,) = program.sites
    assert (site.layer.kind, site.layer.eps, site.layer.channels, site.addends) == (kind, eps, 8, addends)
    check_sites(
        program, {"x": TOKENS, "z": TOKENS[::-1].copy()} if addends or "z" in call else {"x": TOKENS, "z": TOKENS}
    )


def test_an_operator_of_that_name_in_a_foreign_domain_is_not_ours(tmp_path: Path) -> None:
    text = tokens("y = my.domain.LayerNormalization(x, gamma)")
    assert load_text(tmp_path, text, domains=("my.domain",)).sites == ()


def test_graph_order_with_subgraphs_between(tmp_path: Path) -> None:
    model = nested(1)
    names = ["x", "gamma4", "beta4", "mean4", "var4"]
    model.graph.node.insert(0, helper.make_node("BatchNormalization", names, ["first"], "first"))
    model.graph.node.append(helper.make_node("BatchNormalization", ["y", *names[1:]], ["last"], "last"))
    program = load_model(tmp_path, model)
    assert [(s.where, s.nodes) for s in program.sites] == [("graph", (0,)), ("subgraph", ()), ("graph", (2,))]
    assert len({s.layer.name for s in program.sites}) == 3


def test_inputs_and_parameters(tmp_path: Path) -> None:
    model = from_text(image(f"y = {BATCH_NORM}"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.initializer.append(numpy_helper.from_array(np.arange(5), "shape"))
    program = load_model(tmp_path, model)
    assert [(i.name, i.dtype, i.shape) for i in program.inputs] == [("x", "float32", (None, 4, 3, 5))]
    assert program.parameters == 16
    assert program.folder == tmp_path


def test_inputs_of_unknown_shape(tmp_path: Path) -> None:
    model = from_text(image("y = Relu(x)"))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert load_model(tmp_path, model).inputs[0].shape is None
