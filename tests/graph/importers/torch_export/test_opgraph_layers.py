"""Convolutions, products and norms of an exported program, as exported and decomposed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from normdiag.graph.importers.torch_export import stored_names, torch_graph
from normdiag.models.pytorch import module_layers
from normdiag.records import Conv, Linear, Norm, Opaque, OpGraph, ScaleShift
from tests.graph.importers.torch_export.programs import IMAGES, ROWS, conv, details, exported, forms, op
from tests.nets.net import Net
from tests.nets.norms_by_hand import BatchNormAct2d, FrozenBatchNorm2d


def graphs(net: nn.Module, *inputs: torch.Tensor, dynamic: bool = True) -> list[tuple[ExportedProgram, OpGraph]]:
    return [(program, torch_graph(program)) for program in forms(net, *inputs, dynamic=dynamic)]


@pytest.mark.parametrize(
    ("layer", "kind", "transposed", "padded"),
    [
        (nn.Conv1d(4, 8, 3, groups=2), "conv1d", False, False),
        (nn.Conv2d(4, 8, 3, padding="same", bias=False), "conv2d", False, True),
        (nn.Conv2d(4, 8, 3, padding="valid"), "conv2d", False, False),
        (nn.Conv2d(4, 8, 1, padding="same"), "conv2d", False, False),
        (nn.Conv3d(4, 8, 3, padding=(0, 0, 1)), "conv3d", False, True),
        (nn.ConvTranspose1d(4, 8, 1), "conv_transpose1d", True, False),
        (nn.ConvTranspose2d(4, 8, 3, 2, 1, 1, groups=2), "conv_transpose2d", True, True),
        (nn.ConvTranspose3d(4, 8, 2), "conv_transpose3d", True, True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_convolutions(layer: nn.Module, kind: str, transposed: bool, padded: bool) -> None:
    x = torch.rand(2, 4, *([5] * int(kind[-2])))
    for program, graph in graphs(Net(lambda s, x: s.c(x), c=layer), x):
        (found,) = graph.ops
        detail = found.detail
        assert isinstance(detail, Conv)
        assert (found.name, found.operator, found.inputs) == ("c", kind, ("x",))
        assert found.outputs == graph.outputs
        assert (detail.groups, detail.transposed, detail.padded) == (layer.groups, transposed, padded)
        np.testing.assert_array_equal(detail.weight.read(), layer.weight.detach().numpy())
        assert (detail.bias is None) == (layer.bias is None)
        assert stored_names(program)[detail.weight.name] == "c.weight"
        assert [str(each) for each in np.array(list(program.graph.nodes))[list(found.nodes)]] == list(found.outputs)


def product(detail: Linear, x: np.ndarray) -> np.ndarray:
    """What the record says that the op does."""
    weight = detail.weight.read()
    weight = np.moveaxis(weight, (detail.in_axis, detail.out_axis), (-2, -1)) if detail.channel_axis == -1 else weight
    y = x @ weight if detail.channel_axis == -1 else weight @ x
    return detail.alpha * y + (0 if detail.bias is None else detail.beta * detail.bias.read())


@pytest.mark.parametrize(
    "net",
    [
        Net(lambda s, x: s.l(x), l=nn.Linear(5, 4)),
        Net(lambda s, x: s.l(x), l=nn.Linear(5, 4, bias=False)),
        Net(lambda s, x: x @ s.w + s.v, w=torch.rand(5, 4), v=torch.rand(4)),
        Net(lambda s, x: s.v + torch.matmul(s.w.t(), x.t()), w=torch.rand(5, 4), v=torch.rand(4, 1)),
        Net(lambda s, x: torch.addmm(s.v, x, s.w, beta=3.0, alpha=2.0), w=torch.rand(5, 4), v=torch.rand(4)),
    ],
    ids=["linear", "no-bias", "matmul-add", "constant-left", "addmm"],
)
def test_products_are_one_linear(net: Net) -> None:
    for program, graph in graphs(net, ROWS):
        found = graph.ops[-1]
        assert isinstance(found.detail, Linear) and found.outputs == graph.outputs
        assert details(graph)[:-1] in ([], ["Transpose"])
        x = ROWS.numpy().T if details(graph)[:-1] else ROWS.numpy()
        with torch.no_grad():
            np.testing.assert_allclose(product(found.detail, x), program.module()(ROWS).numpy(), rtol=1e-5)


def test_a_product_read_twice_is_not_merged_with_its_addition() -> None:
    net = Net(lambda s, x: (y := x @ s.w) + s.v + y.sum(), w=torch.rand(5, 4), v=torch.rand(4))
    graph = torch_graph(exported(net, ROWS))
    assert details(graph)[:2] == ["Linear", "ScaleShift"]
    assert op(graph, "matmul").detail.bias is None  # type: ignore[union-attr]


NORMS = {
    "batch": nn.BatchNorm2d(8),
    "sync": nn.SyncBatchNorm(8),
    "plain": nn.BatchNorm2d(8, affine=False),
    "no-statistics": nn.BatchNorm2d(8, track_running_stats=False),
    "instance": nn.InstanceNorm2d(8, affine=True),
    "instance-bare": nn.InstanceNorm2d(8),
    "instance-statistics": nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "group": nn.GroupNorm(2, 8),
    "layer": nn.LayerNorm(6),
    "layers": nn.LayerNorm((6, 6)),
    "rms": nn.RMSNorm(6),
}


@pytest.mark.parametrize(
    ("name", "dynamic"), [*((name, True) for name in NORMS), ("instance", False), ("instance-statistics", False)]
)
def test_norms_are_the_layers_that_inspect_reports(name: str, dynamic: bool) -> None:
    net = Net(lambda s, x: s.n(s.c(x)), c=conv(), n=NORMS[name]).eval()
    for _, graph in graphs(net, IMAGES, dynamic=dynamic):
        (expected,) = module_layers(net)
        assert [each.name for each in graph.ops] == ["c", "n"]
        norm = graph.ops[1].detail
        assert isinstance(norm, Norm)
        layer = norm.layer
        assert graph.ops[1].outputs == graph.outputs
        for fact in ("name", "kind", "origin", "eps", "groups", "normalized_rank", "class_name", "training"):
            assert getattr(layer, fact) == pytest.approx(getattr(expected, fact)), fact
        for fact in ("gamma", "beta", "running_mean", "running_var"):
            np.testing.assert_array_equal(getattr(layer, fact), getattr(expected, fact))
        assert layer.channels == expected.channels or layer.channels is None
        assert norm.axis == (3 if name in ("layer", "layers", "rms") else 1)
        foldable = name in ("batch", "sync", "plain", "instance-statistics")
        assert (norm.scale is not None) == foldable
        assert (norm.obstacle is not None) == (name == "no-statistics")
        if norm.gamma is not None:
            np.testing.assert_array_equal(norm.gamma.read(), expected.gamma)


def test_scale_and_shift_are_what_the_norm_does() -> None:
    for program, graph in graphs(Net(lambda s, x: s.n(x), n=nn.BatchNorm2d(3)), IMAGES):
        norm = graph.ops[0].detail
        assert isinstance(norm, Norm) and norm.scale is not None and norm.shift is not None
        y = norm.scale[:, None, None] * IMAGES.numpy() + norm.shift[:, None, None]
        np.testing.assert_allclose(y, program.module()(IMAGES).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decomposed", [False, True])
def test_training_mode_is_an_obstacle(decomposed: bool) -> None:
    net = Net(lambda s, x: s.d(s.n(x)), n=nn.BatchNorm2d(3), d=nn.Dropout())
    program = exported(net, IMAGES, training=True)
    graph = torch_graph(program.run_decompositions() if decomposed else program)
    norm = op(graph, "n").detail
    assert isinstance(norm, Norm) and norm.scale is None and "training mode" in str(norm.obstacle)
    assert isinstance(op(graph, "d").detail, Opaque)


def test_functional_norms_have_the_names_of_inspect() -> None:
    def forward(s: Net, x: torch.Tensor) -> torch.Tensor:
        x = F.batch_norm(F.batch_norm(s.seq(x), s.mean, s.var), s.mean, s.var)
        return F.layer_norm(F.batch_norm(x, s.seq[1].running_mean, s.seq[1].running_var), (6,))

    net = Net(forward, seq=nn.Sequential(conv(), nn.BatchNorm2d(8)), mean=torch.rand(8), var=torch.rand(8))
    for _, graph in graphs(net, IMAGES):
        layers = [each.detail.layer for each in graph.ops if isinstance(each.detail, Norm)]
        names = ["seq.1", "batch_norm", "batch_norm_2", "seq.1#2", "layer_norm"]
        assert [each.name for each in layers] == names
        assert [each.origin for each in layers] == ["module", "function", "function", "module", "function"]
        assert [each.name for each in graph.ops] == ["seq.0", *names]


def test_statistics_that_the_graph_computes_are_an_obstacle() -> None:
    net = Net(lambda s, x: F.batch_norm(x, x.mean((0, 2, 3)), s.var), var=torch.rand(3))
    for _, graph in graphs(net, IMAGES):
        norm = graph.ops[-1].detail
        assert isinstance(norm, Norm) and norm.obstacle == "its running mean is computed by the graph"
        assert graph.ops[-1].inputs == ("x",)
        assert list(graph.pinned) == list(graph.ops[-2].outputs)


def test_wrappers() -> None:
    net = Net(lambda s, x: s.f(s.a(s.c(x))), c=conv(), a=BatchNormAct2d(8), f=FrozenBatchNorm2d(8, 1e-3))
    for program, graph in graphs(net, IMAGES):
        assert [each.name for each in graph.ops] == ["c", "a", "a.act", "f"]
        assert isinstance(graph.ops[1].detail, Norm)
        frozen = graph.ops[3].detail
        assert isinstance(frozen, ScaleShift) and frozen.norm is not None
        layer = frozen.norm
        assert (layer.name, layer.kind, layer.origin, layer.channels) == ("f", "batch_norm", "decomposed", 8)
        assert layer.eps == 1e-3 and layer.class_name == "FrozenBatchNorm2d"
        np.testing.assert_array_equal(layer.running_mean, net.f.running_mean.numpy())
        assert frozen.scale.shape == frozen.shift.shape == (1, 8, 1, 1)
        expected = net.f.weight / (net.f.running_var + 1e-3).sqrt()
        np.testing.assert_allclose(frozen.scale.ravel(), expected.numpy(), rtol=1e-6)
        nodes = list(program.graph.nodes)
        assert [nodes[index].target.overloadpacket.__name__ for index in graph.ops[3].nodes] == ["mul", "add"]


def t5_norm(s: Net, x: torch.Tensor) -> torch.Tensor:
    half = x.to(torch.float32)
    return s.l(s.w * (half * torch.rsqrt(half.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype))


def shared_difference(s: Net, x: torch.Tensor) -> torch.Tensor:
    y = x - x.mean(-1, keepdim=True)
    return s.l(s.w * (y * (y.square().mean(-1, keepdim=True) + 1e-12).rsqrt()) + s.b)


def by_variance(s: Net, x: torch.Tensor) -> torch.Tensor:
    y = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-12)
    return s.l(y * s.w + s.b)


@pytest.mark.parametrize(
    ("forward", "kind"),
    [(t5_norm, "rms_norm"), (shared_difference, "layer_norm"), (by_variance, "layer_norm")],
    ids=["t5", "difference", "variance"],
)
def test_norms_written_out(forward: object, kind: str) -> None:
    net = Net(forward, l=nn.Linear(5, 3), w=torch.rand(5), b=torch.rand(5))  # type: ignore[arg-type]
    program = exported(net, ROWS)
    graph = torch_graph(program)
    assert [each.name for each in graph.ops] == [kind, "l"]
    norm = graph.ops[0].detail
    assert isinstance(norm, Norm) and norm.layer.kind == kind and norm.scale is None and norm.obstacle is None
    assert norm.gamma is not None and stored_names(program)[norm.gamma.name] == "w"
    assert (norm.beta is None) == (kind == "rms_norm")
    assert norm.layer.eps in (1e-6, 1e-12) and norm.layer.normalized_rank == 1


PARAMETRIZED = {
    "weight_norm": parametrizations.weight_norm(conv()),
    "spectral_norm": parametrizations.spectral_norm(conv()),
    "old weight_norm": nn.utils.weight_norm(conv()),
}


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_parametrized_weights_are_constants(name: str) -> None:
    layer = PARAMETRIZED[name].eval()
    for program, graph in graphs(Net(lambda s, x: s.c(x), c=layer), IMAGES):
        (found,) = graph.ops
        assert found.name == "c" and isinstance(found.detail, Conv)
        weight = found.detail.weight
        assert weight.obstacle is None and weight.name not in stored_names(program)
        layer(IMAGES)
        np.testing.assert_allclose(weight.read(), layer.weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_weights_that_must_not_be_rewritten_say_why() -> None:
    net = Net(
        lambda s, x, w: s.l(F.linear(F.linear(x, w), s.q.to(torch.float32) * s.step) @ x.t().mm(x)),
        q=torch.ones(5, 5, dtype=torch.int8),
        step=torch.rand(5, 1),
        l=nn.Linear(5, 3),
    )
    graph = torch_graph(exported(net, ROWS, torch.rand(5, 5), dynamic=False))
    linears = [each.detail for each in graph.ops if isinstance(each.detail, Linear)]
    assert [each.weight.obstacle for each in linears] == ["is a graph input", "is quantized", None]
    assert [each.why for each in (op(graph, "matmul").detail,) if isinstance(each, Opaque)] == [
        "a product of two activations"
    ]


def test_a_computed_weight_is_pinned() -> None:
    net = Net(lambda s, x: F.linear(x, s.h(x.mean(0)).reshape(4, 5)), h=nn.Linear(5, 20))
    graph = torch_graph(exported(net, ROWS))
    found = graph.ops[-1]
    assert isinstance(found.detail, Linear) and found.detail.weight.obstacle == "is computed by the graph"
    assert list(graph.pinned) == [found.detail.weight.name] == list(graph.ops[-2].outputs)


def test_shared_parameters_name_their_other_readers() -> None:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    net = Net(lambda s, x: s.c(s.b(s.a(s.a(x)))), a=first, b=second, c=nn.Linear(5, 5))
    for _, graph in graphs(net, ROWS):
        shared = {each.name: each.detail.weight.shared_with for each in graph.ops if isinstance(each.detail, Linear)}
        assert shared == {"a": ("a#2", "b"), "a#2": ("a", "b"), "b": ("a", "a#2"), "c": ()}
        assert op(graph, "b").detail.bias.shared_with == ()  # type: ignore[union-attr]


def test_a_weight_that_is_returned_is_shared_with_the_output() -> None:
    net = Net(lambda s, x: (s.a(x), s.a.weight), a=nn.Linear(5, 5))  # type: ignore[arg-type, return-value]
    graph = torch_graph(exported(net, ROWS))
    assert graph.ops[0].detail.weight.shared_with == ("the output",)  # type: ignore[union-attr]
    assert graph.outputs == ("linear",)
