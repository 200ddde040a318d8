"""Through slices, gathers and flips, against running them on changed data; and what cannot be followed."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.records import Affine, Op, OpGraph, Size, Take
from tests.folding.following import channelwise, check_down, check_up, refused
from tests.nets.op_graph import GraphNet

WHOLE: dict[str, tuple[range | tuple[int, ...], ...]] = {
    "one slice": (range(1, 4),),
    "with steps": (range(0, 5, 2),),
    "backwards": (range(4, -1, -1),),
    "chosen": ((3, 0, 4),),
    "one of them twice": ((0, 1, 2, 3, 4), (2,)),
    "all in two": (range(2), range(2, 5)),
    "out of order": ((4, 2), (0, 3, 1)),
    "some": (range(2), range(3, 5)),
    "nothing": (range(0), range(5)),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("dynamic", [False, True])
def test_each_output_gets_its_share(name: str, dynamic: bool) -> None:
    net = GraphNet(5, 3, dynamic=dynamic)
    net.take(net.x, *WHOLE[name])
    whole = channelwise((2, 5, 3))
    maps = check_down(net, {0: whole})
    assert set(maps) == set(range(len(WHOLE[name])))
    found = check_up(net, maps)
    assert set(found) == {0}


def test_others_stay_as_they_are() -> None:
    net = GraphNet(5, 3)
    net.take(net.x, range(2), (4, 2))
    found = check_up(net, {1: channelwise((2, 2, 3))})[0]
    assert (found.scale[0, [0, 1, 3], 0] == 1).all() and (found.shift[0, [0, 1, 3], 0] == 0).all()


def test_one_channel_for_several_needs_one_map() -> None:
    net = GraphNet(5, 3)
    net.take(net.x, range(3), (0, 2))
    refused(net, {1: channelwise((2, 2, 3))}, "more than once, and they are scaled differently")
    one = Affine(np.full((1, 1, 1), 2.0), np.ones((1, 1, 1)))
    assert check_up(net, {0: one, 1: one})[0].scale.shape == (1, 1, 1)
    twice = GraphNet(5, 3)
    twice.take(twice.x, (1, 1, 2))
    refused(twice, {0: channelwise((2, 3, 3))}, "more than once")


@pytest.mark.parametrize("picks", [((2,),), ((2,), (0,)), tuple((i,) for i in range(4))])
def test_an_axis_that_goes(picks: tuple[tuple[int, ...], ...]) -> None:
    net = GraphNet(4, 3, 5)
    net.take(net.x, *picks, axis=2 - (len(picks) > 3), removed=True)
    if len(picks) < 4:
        assert check_up(net, {i: channelwise((2, 4, 5)) for i in range(len(picks))})[0].scale.shape == (1, 4, 1, 1)
        check_up(net, {0: channelwise((2, 4, 5))})
    else:
        maps = check_down(net, {0: channelwise((2, 4, 3, 5))})
        assert maps[0].scale.shape == (1, 1, 1)
        check_up(net, maps)


def test_positions_do_not_matter_where_all_are_alike() -> None:
    net = GraphNet(4, 9, dynamic=True)
    net.take(net.x, range(1, 8), axis=2)
    assert check_up(net, {0: channelwise((2, 4, 7))})[0].scale.shape == (1, 4, 1)
    assert check_down(net, {0: channelwise((2, 4, 9))})[0].scale.shape == (1, 4, 1)


@pytest.mark.parametrize("down", [False, True])
def test_what_is_not_known(down: bool) -> None:
    net = GraphNet(4, 3)
    net.take(net.x, range(2), range(2, 4))
    wanted = channelwise((2, 4 if down else 2, 3))
    detail = net.ops[-1].detail
    assert isinstance(detail, Take)
    unknown = Take(1, (None, detail.picks[1]))
    net.ops[-1] = Op("t", "other", "Slice", net.ops[-1].inputs, net.ops[-1].outputs, unknown)
    refused(net, {0: wanted}, "it is not known which it takes", down=down)


def test_sizes_that_do_not_fit() -> None:
    net = GraphNet(4, 3)
    net.take(net.x, range(2), range(2, 4))
    refused(net, {0: channelwise((2, 3, 3))}, "does not fit")
    refused(net, {0: channelwise((2, 3, 3))}, "does not fit", down=True)
    refused(net, {0: channelwise((2, 2, 3)), 1: Affine(np.ones((1, 1, 4)), np.ones((1, 1, 3)))}, "does not fit")
    net.sizes[net.x] = (Size(1, ("n",)), Size(1, ("c",)), Size(3))
    refused(net, {0: channelwise((2, 2, 3))}, "it is not known which it takes")


@pytest.mark.parametrize("down", [False, True])
def test_hostile_sizes_cost_nothing(down: bool) -> None:
    huge = 10**15
    sizes = {"x": (Size(1), Size(huge)), "a": (Size(1), Size(huge)), "b": (Size(1), Size(huge))}
    op = Op("t", "other", "Slice", ("x",), ("a", "b"), Take(1, (range(huge), range(huge)[::-1])))
    net = GraphNet(4)
    net.ops[:] = [op]
    net.graph = lambda *_: OpGraph((op,), ("x",), ("a", "b"), sizes)  # type: ignore[method-assign]
    refused(net, {0: channelwise((2, 4))}, "too many positions", down=down)
