"""What lies between layers in an exported program: rearranging, pools, sums, chains, and what is not followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normdiag.graph.importers.torch_export import torch_graph
from normdiag.records import (
    Add,
    Concat,
    Constant,
    Norm,
    Opaque,
    OpGraph,
    Pass,
    Reshape,
    ScaleShift,
    Size,
    Split,
    Take,
    Transpose,
    Window,
)
from sample_models.net import DigitsCNN, DigitsMLP, DigitsTransformer
from tests.graph.importers.torch_export.programs import IMAGES, conv, details, exported, forms, op
from tests.nets.net import Net
from tests.nets.resnet20 import ResNet20


def both(forward: Callable[..., object], *inputs: Tensor, **parts: nn.Module | Tensor) -> list[OpGraph]:
    return [torch_graph(each) for each in forms(Net(forward, **parts), *inputs)]  # type: ignore[arg-type]


def single(forward: Callable[..., object], x: Tensor = IMAGES, **parts: nn.Module | Tensor) -> OpGraph:
    return torch_graph(exported(Net(forward, **parts), x))  # type: ignore[arg-type]


SPATIAL = (2, 3)
WINDOWS: dict[str, tuple[Callable[..., Tensor], Window | Take]] = {
    "avg_pool": (lambda s, x: F.avg_pool2d(x, 2), Window(SPATIAL)),
    "avg_pool padded": (lambda s, x: F.avg_pool2d(x, 3, 2, 1), Window(SPATIAL, shift=False)),
    "avg_pool not counting": (lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), Window(SPATIAL)),
    "avg_pool ceil": (lambda s, x: F.avg_pool2d(x, 3, 2, ceil_mode=True), Window(SPATIAL)),
    "avg_pool divisor": (lambda s, x: F.avg_pool2d(x, 2, divisor_override=3), Window(SPATIAL, total=4 / 3)),
    "adaptive_avg_pool": (lambda s, x: F.adaptive_avg_pool2d(x, 3), Window(SPATIAL)),
    "mean": (lambda s, x: x.mean((2, 3)), Window(SPATIAL, removed=True)),
    "mean kept": (lambda s, x: x.mean((-1, -2), keepdim=True), Window(SPATIAL)),
    "sum": (lambda s, x: x.sum((2, 3)), Window(SPATIAL, removed=True, total=64)),
    "max_pool": (lambda s, x: F.max_pool2d(x, 3, 2, 1), Window(SPATIAL, "non_negative")),
    "adaptive_max_pool": (lambda s, x: F.adaptive_max_pool2d(x, 2), Window(SPATIAL, "non_negative")),
    "amax": (lambda s, x: x.amax((2, 3)), Window(SPATIAL, "non_negative", removed=True)),
    "nearest": (lambda s, x: F.interpolate(x, scale_factor=2), Window(SPATIAL)),
    "bilinear": (lambda s, x: F.interpolate(x, size=(5, 6), mode="bilinear"), Window(SPATIAL)),
    "bicubic": (lambda s, x: F.interpolate(x, scale_factor=3, mode="bicubic", antialias=True), Window(SPATIAL)),
    "zero pad": (lambda s, x: F.pad(x, (1, 0)), Window((3,), shift=False)),
    "crop by pad": (lambda s, x: F.pad(x, (0, 0, -1, -1)), Window((2,))),
    "channel pad": (lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 2)), Window((1,), shift=False)),
    "slice": (lambda s, x: x[:, :, :, 1:-1], Take(3, (range(1, 7),))),
    "select": (lambda s, x: x[:, :, 2], Take(2, ((2,),), removed=True)),
    "flip": (lambda s, x: x.flip(3), Take(3, (range(7, -1, -1),))),
    "roll": (lambda s, x: x.roll(-6, -1), Take(3, ((6, 7, *range(6)),))),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str) -> None:
    forward, expected = WINDOWS[name]
    for program in forms(Net(forward), IMAGES):
        graph = torch_graph(program)
        (found,) = [each for each in graph.ops if not isinstance(each.detail, Pass)]
        assert found.detail == expected and graph.ops[-1].outputs == graph.outputs
        if isinstance(expected, Take):
            continue
        factor = 2.0 if expected.scale == "non_negative" else -2.0
        y, moved = program.module()(IMAGES), program.module()(factor * IMAGES + (1.0 if expected.shift else 0.0))
        torch.testing.assert_close(moved, factor * y + (expected.total if expected.shift else 0.0))
        if not expected.shift:
            assert not torch.allclose(program.module()(IMAGES + 1.0), y + 1.0)


def test_an_expansion_to_more_axes_is_a_reshape_first() -> None:
    for graph in both(lambda s, x: x.expand(2, *x.shape), IMAGES):
        first, second = (each.detail for each in graph.ops if not isinstance(each.detail, Pass))
        assert isinstance(first, Reshape) and second == Window((0,))


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_paddings_that_repeat_positions(mode: str) -> None:
    for graph in both(lambda s, x: F.pad(x, (1, 1, 2, 0), mode=mode), IMAGES):
        windows = [each.detail for each in graph.ops if isinstance(each.detail, Window)]
        taken = {each.detail.axis for each in graph.ops if isinstance(each.detail, Take)}
        assert {axis for each in windows for axis in each.axes} | taken == {2, 3}
        assert all(each.shift for each in windows)


OPAQUE: dict[str, tuple[Callable[..., object], str]] = {
    "relu": (lambda s, x: x.relu(), "a nonlinearity"),
    "softmax": (lambda s, x: x.softmax(1), "a nonlinearity"),
    "pad with ones": (lambda s, x: F.pad(x, (1, 1), value=1.0), ""),
    "pool with indices": (lambda s, x: F.max_pool2d(x, 2, return_indices=True), ""),
    "alpha": (lambda s, x: torch.add(x, x.relu(), alpha=2), ""),
    "number beyond its type": (lambda s, x: 1e39 * x, ""),
    "product": (lambda s, x: x * x.relu(), "a product of two activations"),
    "quotient": (lambda s, x: x / x.exp(), "a quotient of two activations"),
    "reciprocal": (lambda s, x: s.k / x, "a nonlinearity"),
    "rounded quotient": (lambda s, x: torch.div(x, 2, rounding_mode="floor"), "a nonlinearity"),
    "quotient by zero": (
        lambda s, x: x / 0,
        "a product with a constant that is not finite, or no number for each channel",
    ),
    "narrowing": (lambda s, x: x.half(), "a cast that rounds"),
    "cumsum": (lambda s, x: x.cumsum(2), "an operation that folding does not look into"),
    "bits": (lambda s, x: x.view(torch.int32), ""),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_not_followed(name: str) -> None:
    forward, why = OPAQUE[name]
    for graph in both(forward, IMAGES, k=torch.rand(3, 1, 1)):
        found = [each for each in graph.ops if isinstance(each.detail, Opaque)]
        assert found and "x" in {name for each in graph.ops for name in each.inputs}
        assert found[-1].detail.why == why or not why  # type: ignore[union-attr]


def test_rearranging() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2).unsqueeze(1)
        return y.squeeze(1).unflatten(1, (2, -1)).permute(0, 3, 1, 2).movedim(1, -1)

    graph = single(forward)
    assert details(graph) == ["Reshape", "Transpose", *["Reshape"] * 3, "Transpose", "Transpose"]
    perms = [each.detail.perm for each in graph.ops if isinstance(each.detail, Transpose)]
    assert perms == [(0, 2, 1), (0, 3, 1, 2), (0, 2, 3, 1)]
    batch = graph.sizes["x"][0]
    assert batch.known is None and graph.sizes["x"][1:] == (Size(3), Size(8), Size(8))
    assert graph.sizes[graph.outputs[0]] == (batch, Size(2), Size(32), Size(3))
    assert graph.dtypes["x"] == "float32"


def test_the_free_dimension_stays_known_through_a_reshape() -> None:
    graph = single(lambda s, x: x.reshape(-1, 8))
    (symbol,) = graph.sizes["x"][0].symbols
    assert graph.sizes[graph.outputs[0]] == (Size(24, (symbol,)), Size(8))


def run_moves(graph: OpGraph, x: np.ndarray) -> np.ndarray:
    """Reshapes and transposes carried out as the graph says."""
    for each in graph.ops:
        if isinstance(each.detail, Transpose):
            x = x.transpose(each.detail.perm)
        elif isinstance(each.detail, Reshape):
            x = x.reshape([size.known or -1 for size in graph.sizes[each.outputs[0]]])
        else:
            assert isinstance(each.detail, Pass)
    return x


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: F.channel_shuffle(x, 3),
        lambda s, x: F.pixel_shuffle(x, 2),
        lambda s, x: F.pixel_unshuffle(x, 2),
        lambda s, x: x.mT.swapaxes(1, 3),
    ],
    ids=["channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "mT"],
)
def test_shuffles_are_followed(forward: Callable[..., Tensor]) -> None:
    x = torch.rand(2, 12, 4, 6)
    for graph in both(forward, x):
        np.testing.assert_array_equal(run_moves(graph, x.numpy()), forward(None, x).numpy())
        names = [name for each in graph.ops for name in each.outputs]
        assert len(set(names)) == len(names) and names[-1:] == list(graph.outputs)


def test_splits_and_concatenations() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        a, b, c = s.c(x).split([1, 5, 2], dim=1)
        return torch.cat([c, a, b], dim=1)

    for graph in both(forward, IMAGES, c=conv()):
        assert details(graph) == ["Conv", "Split", "Concat"]
        split, concat = graph.ops[1:]
        assert split.detail == Split(1, (1, 5, 2)) and concat.detail == Concat(1)
        assert concat.inputs == (split.outputs[2], *split.outputs[:2])


def test_sums_and_constants_among_the_data() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        y = s.p + (s.c(x) - s.d(x))
        return torch.cat([y, y * 0 + s.p], 1)

    for graph in both(forward, IMAGES, c=conv(), d=conv(), p=torch.rand(8, 6, 6)):
        signs = [each.detail.signs for each in graph.ops if isinstance(each.detail, Add)]
        assert signs == [(1, -1), (1, 1), (1, 1)]
        (constant,) = [each for each in graph.ops if isinstance(each.detail, Constant)]
        assert constant.inputs == () and constant.name == "p"
        readers = [each.inputs for each in graph.ops if constant.outputs[0] in each.inputs]
        assert len(readers) == 2 and readers[0][0] == constant.outputs[0]
        order = [each.name for each in graph.ops]
        assert order.index("p") < min(order.index(each.name) for each in graph.ops if isinstance(each.detail, Add)) + 2


def test_a_chain_of_arithmetic_is_one_map() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        return 2 * ((s.c(x) - s.mean) / (s.var + 1e-5).sqrt() * s.gamma + s.beta)

    parts = {name: torch.rand(8, 1, 1) + 0.5 for name in ("mean", "var", "gamma", "beta")}
    for graph in both(forward, IMAGES, c=conv(), **parts):
        assert details(graph) == ["Conv", "ScaleShift"]
        chain = graph.ops[1].detail
        assert isinstance(chain, ScaleShift) and chain.norm is not None and chain.norm.kind == "batch_norm"
        scale = 2 * parts["gamma"] / (parts["var"] + 1e-5).sqrt()
        np.testing.assert_allclose(chain.scale[0], scale.double().numpy(), rtol=1e-6)
        shift = 2 * parts["beta"] - scale * parts["mean"]
        np.testing.assert_allclose(chain.shift[0], shift.double().numpy(), rtol=1e-4, atol=1e-6)


def test_a_lone_number_is_a_map_and_no_norm() -> None:
    for graph in both(lambda s, x: -(2 * x.relu() - 3) / 4, IMAGES):
        assert details(graph) == ["Opaque", "ScaleShift"]
        chain = graph.ops[1].detail
        assert isinstance(chain, ScaleShift) and chain.norm is None
        assert chain.scale.shape == (1, 1, 1, 1) and (chain.scale.item(), chain.shift.item()) == (-0.5, 0.75)


def test_a_chain_breaks_where_others_read() -> None:
    graph = single(lambda s, x: (y := x * s.k) + s.k + y.sum(), k=torch.rand(3, 1, 1))
    assert details(graph)[0] == "ScaleShift" and "ScaleShift" in details(graph)[1:]
    assert all(each.detail.norm is None for each in graph.ops if isinstance(each.detail, ScaleShift))


def test_identities_dropout_and_widening() -> None:
    for graph in both(lambda s, x: s.d(x.clone().detach()).double(), IMAGES, d=nn.Dropout(0.25)):
        assert set(details(graph)) == {"Pass"}
    graph = single(lambda s, x: s.d(x), d=nn.Dropout2d(0.25))
    assert graph.ops[0].detail == Pass(keep=0.75) and graph.ops[0].kind == "dropout"


def test_reading_a_shape_is_no_reading() -> None:
    graph = single(lambda s, x: s.c(x).view(x.size(0), -1) + torch.zeros_like(x).sum(), c=conv())
    assert [each.name for each in graph.ops if "x" in each.inputs] == ["c"]


def test_in_place_forms_are_plain_where_nobody_else_looks() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        y = s.n(s.c(x))
        y += s.d(x)
        return F.relu_(y)

    graph = single(forward, c=conv(), d=conv(), n=nn.BatchNorm2d(8))
    assert [each.name for each in graph.ops] == ["c", "n", "d", "add", "relu"] and not graph.pinned
    assert details(graph)[3] == "Add"


def test_what_others_see_changing_is_left_alone() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        y = s.c(x)
        view = y.flatten(1)
        z = s.n(y)
        y.relu_()
        return s.d(z).sum() + view.sum()

    graph = single(forward, c=conv(), d=conv(8), n=nn.BatchNorm2d(8))
    norm = op(graph, "n").detail
    assert isinstance(norm, Norm) and norm.obstacle == "'relu_' changes its data in place"
    assert set(graph.pinned) == {"conv2d", "flatten", "relu_"}
    assert isinstance(op(graph, "c").detail, Opaque) and isinstance(op(graph, "flatten").detail, Opaque)


def test_a_buffer_that_changes_is_no_constant() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        s.k.add_(1)
        return x * s.k

    for graph in both(forward, IMAGES, k=torch.rand(3, 1, 1)):
        assert not [each for each in graph.ops if isinstance(each.detail, ScaleShift) and "x" in each.inputs]


def test_branches_of_control_flow() -> None:
    def forward(s: Net, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, s.n, lambda y: y + 1, (s.c(x),))

    graph = single(forward, c=conv(), n=nn.BatchNorm2d(8))
    (cond,) = [each for each in graph.ops if each.operator == "cond"]
    assert isinstance(cond.detail, Opaque) and "conv2d" in cond.inputs
    ((layer, reason),) = graph.unreached
    assert layer.kind == "batch_norm" and layer.eps == 1e-5 and "subgraph" in reason


def test_resnet20() -> None:
    for program in forms(ResNet20(), torch.rand(2, 3, 32, 32)):
        graph = torch_graph(program)
        norms = [each for each in graph.ops if isinstance(each.detail, Norm)]
        assert len(norms) == 19 and all(each.detail.scale is not None for each in norms)  # type: ignore[union-attr]
        assert [each.name for each in graph.ops][:4] == ["conv1", "bn1", "relu", "layer1.0.conv1"]
        assert sum(isinstance(each.detail, Add) for each in graph.ops) == 9
        assert len({each.name for each in graph.ops}) == len(graph.ops) and graph.inputs == ("x",)
        made = set(graph.inputs)
        for each in graph.ops:
            assert set(each.inputs) <= made
            made.update(each.outputs)


@pytest.mark.parametrize(
    "net",
    [DigitsCNN("instance_stats"), DigitsMLP("batch"), DigitsTransformer("layer"), DigitsTransformer("rms")],
    ids=["cnn", "mlp", "layer", "rms"],
)
def test_the_sample_models(net: nn.Module) -> None:
    modules = [name for name, each in net.named_modules() if "Norm" in type(each).__name__]
    for graph in both(lambda s, x: s.n(x), torch.rand(2, 1, 8, 8), n=net):
        names = [each.detail.layer.name for each in graph.ops if isinstance(each.detail, Norm)]
        assert names == [f"n.{name}" for name in modules]


def test_a_saved_program(samples: Path) -> None:
    program = torch.export.load(samples / "digits_cnn.pt2")
    graph = torch_graph(program)
    assert [each.name for each in graph.ops][:3] == ["conv1", "norm1", "relu1"]
