"""Every rule for going through an op, against running the op on changed data; and what each rule turns down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from normdiag.folding.affine import collapsed, mapped
from normdiag.folding.follow import downstream, passes, upstream
from normdiag.folding.obstacle import Obstacle
from normdiag.records import Add, Affine, Op, OpGraph, Pass, Size, Split, Transpose, Window
from tests.folding.following import N, channelwise, check_down, check_up, last_op, refused
from tests.folding.interpret import run
from tests.nets.op_graph import GraphNet, feeds

Build = Callable[[GraphNet], object]


ONE_TO_ONE: dict[str, tuple[Build, int, int]] = {
    "identity": (lambda net: net.through(net.x), 1, 1),
    "transpose": (lambda net: net.transpose(net.x, 0, 3, 1, 2), 1, 2),
    "flatten of positions": (lambda net: net.reshape(net.x, (4, 6)), 1, 1),
    "unsqueeze": (lambda net: net.reshape(net.x, (1, 4, 1, 2, 3, 1)), 1, 2),
    "average": (lambda net: net.pool(net.x, "AveragePool"), 1, 1),
    "global average": (lambda net: net.pool(net.x, "GlobalAveragePool"), 1, 1),
    "mean without keepdims": (lambda net: net.pool(net.x, "ReduceMean"), 1, 1),
    "resize": (lambda net: net.resize(net.x), 1, 1),
}


# The sizes of one are written out.
BOTH = [(name, dynamic) for name in ONE_TO_ONE for dynamic in (False, True) if not (dynamic and "flatten" in name)]


@pytest.mark.parametrize(("name", "dynamic"), BOTH)
def test_both_ways_through(name: str, dynamic: bool) -> None:
    build, axis, after = ONE_TO_ONE[name]
    net = GraphNet(4, 2, 3, dynamic=dynamic)
    out = build(net)
    down = check_down(net, {0: channelwise(net.shapes[net.x], axis)})
    assert down[0].scale.shape[after] == 4
    up = check_up(net, {0: channelwise(net.shapes[str(out)], after)})
    assert up[0].scale.shape == (1, 4, 1, 1)


@pytest.mark.parametrize("build", [lambda net: net.through(net.x), lambda net: net.pool(net.x, "MaxPool")])
def test_zero_and_positive_scales_pass_a_maximum(build: Build) -> None:
    net = GraphNet(4, 3)
    build(net)
    wanted = channelwise((2, 4, 3), positive=True)
    wanted.scale[0, 2, 0] = 0
    check_up(net, {0: wanted})
    check_down(net, {0: wanted})


@pytest.mark.parametrize("down", [False, True])
def test_negative_scales_stop_at_a_maximum(down: bool) -> None:
    net = GraphNet(4, 3)
    net.pool(net.x, "MaxPool")
    wanted = channelwise((2, 4, 3), positive=True)
    wanted.scale[0, 1, 0] = -1e-9
    assert not refused(net, {0: wanted}, "1 of its scales is negative", down=down).shift_only


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("build", [lambda net: net.pool(net.x, "PaddedPool"), lambda net: net.pad(net.x)])
def test_counted_zeros_pass_a_scale_and_no_shift(build: Build, down: bool) -> None:
    net = GraphNet(4, 3)
    build(net)
    (check_down if down else check_up)(net, {0: channelwise((2, 4, 3), shift=False)})
    assert refused(net, {0: channelwise((2, 4, 3))}, "counts zeros", down=down).shift_only


@pytest.mark.parametrize("down", [False, True])
def test_nothing_may_vary_along_a_window(down: bool) -> None:
    net = GraphNet(4, 3)
    net.pool(net.x, "AveragePool")
    refused(
        net,
        {0: channelwise(net.shapes["x" if down else "averagepool0_out"], 2)},
        "mixes what is scaled differently",
        down=down,
    )


@pytest.mark.parametrize("down", [False, True])
def test_what_only_moves_channels_is_not_said_to_mix_them(down: bool) -> None:
    net = GraphNet(4, 3)
    net.pad(net.x)
    wanted = channelwise(net.shapes["x" if down else "pad0_out"], 2)
    refused(net, {0: wanted}, "moves or drops what is scaled differently", down=down)


@pytest.mark.parametrize("detail", [Transpose((0, 1)), Transpose((0, 0, 1)), Window((5,)), Window((-5,), removed=True)])
def test_axes_that_do_not_exist_are_refused(detail: Transpose | Window) -> None:
    op = Op("odd", "other", "Odd", ("x",), ("y",), detail)
    for follow in (upstream, downstream):
        found = follow(op, {0: channelwise((2, 4, 3))}, OpGraph((op,), ("x",), ("y",)))
        assert isinstance(found, Obstacle), detail


def test_concat_gives_each_input_its_slice() -> None:
    net = GraphNet(5, 3)
    net.concat(*net.split(net.x, 2, 3))
    found = check_up(net, {0: channelwise((2, 5, 3))})
    assert [each.scale.shape[1] for each in found.values()] == [2, 3]
    assert set(check_up(net, {0: channelwise((2, 5, 3), 2)})) == {0, 1}


def test_concat_downstream_leaves_the_others_as_they_are() -> None:
    net = GraphNet(5, 3)
    net.concat(*net.split(net.x, 2, 3))
    check_down(net, {1: channelwise((2, 3, 3))})
    check_down(net, {0: channelwise((2, 2, 3)), 1: channelwise((2, 3, 3), seed=5)})


def test_concat_along_positions_joins_equal_maps_of_unknown_sizes() -> None:
    net = GraphNet(4, 3, dynamic=True)
    left, right = net.pool(net.x, "AveragePool"), net.through(net.x)
    net.concat(left, right, axis=2)
    both = {0: channelwise((2, 4, 2)), 1: channelwise((2, 4, 3))}
    assert check_down(net, both)[0].scale.shape == (1, 4, 1)
    refused(net, {0: both[0]}, "the sizes of its parts are unknown", down=True)
    refused(net, {**both, 1: channelwise((2, 4, 3), seed=9)}, "the sizes of its parts are unknown", down=True)


def test_concat_of_unknown_channels_is_refused() -> None:
    net = GraphNet(4, 3)
    net.concat(net.x, net.x)
    net.sizes["x"] = (N, Size(1, ("c",)), Size(3))
    refused(net, {0: channelwise((2, 8, 3))}, "the sizes of its parts are unknown")


def test_parts_that_do_not_add_up_are_refused() -> None:
    net = GraphNet(4, 3)
    net.split(net.x, 2, 2)
    refused(net, {0: channelwise((2, 5, 3))}, "the sizes of its parts are unknown", down=True)
    refused(net, {0: channelwise((2, 3, 3))}, "its sizes do not fit")


def test_split_takes_what_its_outputs_need_together() -> None:
    net = GraphNet(5, 3)
    net.split(net.x, 2, 3)
    check_up(net, {1: channelwise((2, 3, 3))})
    check_up(net, {0: channelwise((2, 2, 3)), 1: channelwise((2, 3, 3), seed=8)})
    assert check_up(net, {i: channelwise((2, 9, 3), 2) for i in (0, 1)})[0].scale.shape == (1, 1, 3)
    assert set(check_down(net, {0: channelwise((2, 5, 3))})) == {0, 1}


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_add_scales_every_branch_and_shifts_one(signs: tuple[int, ...]) -> None:
    net = GraphNet(4, 3)
    net.add(net.through(net.x), net.through(net.x), net.through(net.x), signs=signs)
    found = check_up(net, {0: channelwise((2, 4, 3))})
    assert sum(bool(each.shift.any()) for each in found.values()) == 1


def test_add_prefers_the_branch_that_can_take_a_shift() -> None:
    net = GraphNet(4, 3)
    left, right = net.through(net.x), net.through(net.x)
    net.add(left, right, signs=(1, -1))
    op, graph = last_op(net)
    found = upstream(op, {0: channelwise((2, 4, 3))}, graph, {right})
    assert isinstance(found, dict)
    assert not found[0].shift.any()
    assert found[1].shift.all()


def test_add_of_a_narrow_branch() -> None:
    """One number for all channels cannot be scaled per channel, but need not take the shift."""
    net = GraphNet(4, 3)
    net.add(net.constant(1, 1, 3), net.through(net.x))
    refused(net, {0: channelwise((2, 4, 3))}, "does not have all of its channels")
    uniform = Affine(np.full((1, 1, 1), 2.0), channelwise((2, 4, 3)).shift)
    found = check_up(net, {0: uniform})
    assert found[1].shift.shape == (1, 4, 1)
    vector = GraphNet(4, 3)
    vector.add(vector.through(vector.x), vector.constant(3))
    assert check_up(vector, {0: Affine(np.full((1, 1, 3), 2.0), np.ones((1, 1, 1)))})[1].scale.shape == (3,)
    refused(vector, {0: channelwise((2, 4, 3))}, "'constant1_out', which Add 'add2' adds, does not have all")


def test_add_of_unknown_sizes_is_refused() -> None:
    net = GraphNet(4, 3)
    net.add(net.through(net.x), net.through(net.x))
    del net.sizes[net.ops[-1].inputs[1]]
    refused(net, {0: channelwise((2, 4, 3))}, "does not have all of its channels")


def test_add_downstream_needs_all_branches_with_the_same_factors() -> None:
    net = GraphNet(4, 3)
    net.add(net.x, net.through(net.x), signs=(1, -1))
    one, other = channelwise((2, 4, 3)), channelwise((2, 4, 3), seed=11)
    check_down(net, {0: one, 1: Affine(one.scale, other.shift)})
    refused(net, {0: one}, "is added to 'identity0_out'", down=True)
    refused(net, {0: one, 1: other}, "scaled differently", down=True)


def test_only_what_is_asked_of_the_first_tensor_passes() -> None:
    op = Op("odd", "dropout", "Dropout", ("x", "ratio"), ("y", "mask"), Pass())
    graph = OpGraph((op,), ("x", "ratio"), ("y",))
    assert isinstance(upstream(op, {1: channelwise((2, 4))}, graph), Obstacle)
    assert isinstance(downstream(op, {1: channelwise((2, 4))}, graph), Obstacle)


def test_layers_are_not_passed() -> None:
    net = GraphNet(4, 3)
    net.conv(net.x, 4)
    net.relu(net.x)
    assert [passes(op) for op in net.ops] == [False, False]
    assert passes(Op("s", "split", "Split", ("x",), ("a", "b"), Split(1, (1, 2))))
    assert passes(Op("a", "add", "Add", ("x", "y"), ("z",), Add((1, 1))))


@pytest.mark.parametrize("name", ["concat", "split"])
def test_axes_outside_the_data_are_refused(name: str) -> None:
    net = GraphNet(4, 3)
    net.concat(net.x, net.x) if name == "concat" else net.split(net.x, 2, 2)
    one = mapped(channelwise((2, 4)), lambda values: collapsed(values[:, 0]))
    for follow, known in ((upstream, {0: one}), (downstream, {0: one})):
        op, graph = last_op(net)
        assert isinstance(follow(op, known, graph), Obstacle)


def test_the_interpreter_agrees_with_itself() -> None:
    """A guard for the oracle: a known pooled value."""
    net = GraphNet(1, 3)
    out = net.pool(net.x, "PaddedPool")
    values = run(net.graph(out), {"x": np.array([[[3.0, 6.0, 9.0]], [[0.0, 0.0, 3.0]]])}, net.shapes)
    assert values[out][0].tolist() == [[3.0, 6.0, 5.0]]
    assert set(feeds(net)) == {"x"}
