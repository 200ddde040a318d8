"""Random small networks of every operation that a fold can meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from normdiag.records import OpGraph
from tests.nets.op_graph import GraphNet

GAMMAS = (1.0, -1.0, 0.5, 2.0, 0.0, -0.25)


@st.composite
def networks(draw: st.DrawFn) -> tuple[GraphNet, OpGraph]:
    """Mostly chains, so that much can go, with branches and second readers now and then."""
    positions = draw(st.sampled_from([(5,), (6,), (3, 4)]))
    net = GraphNet(4, *positions, seed=draw(st.integers(0, 2**32 - 1)), dynamic=draw(st.booleans()))
    alive = [net.x]
    for _ in range(draw(st.integers(2, 9))):
        step = draw(st.sampled_from(STEPS))
        x = alive[-1] if draw(st.integers(0, 5)) else draw(st.sampled_from(alive))
        alive.extend(step(net, x, draw))
        if len(alive) > 1 and draw(st.integers(0, 9)) < 8 and x in alive:
            alive.remove(x)  # so that it is not often read again
    read = {name for op in net.ops for name in op.inputs}
    written = [name for op in net.ops for name in op.outputs]
    outputs = [name for name in written if name not in read]
    if draw(st.integers(0, 7)) == 0:
        outputs = list(dict.fromkeys([*outputs, draw(st.sampled_from(written))]))
    return net, net.graph(*outputs, **_pinned(net, draw))


def _pinned(net: GraphNet, draw: st.DrawFn) -> dict[str, dict[str, str]]:
    if draw(st.integers(0, 19)):
        return {}
    return {"pinned": {draw(st.sampled_from([name for op in net.ops for name in op.outputs])): "a subgraph reads it"}}


def _norm(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    channels = net.shapes[x][1]
    gamma = draw(st.lists(st.sampled_from(GAMMAS), min_size=channels, max_size=channels)) if channels <= 16 else None
    sign = draw(st.sampled_from([None, "positive", "plain"]))
    if gamma and sign == "positive":
        gamma = [abs(g) for g in gamma]
    plain = {"beta": 0.0, "mean": 0.0} if sign == "plain" else {}
    return [net.norm(x, gamma=gamma, **plain)]


def _scale_shift(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    axis = draw(st.integers(1, len(net.shapes[x]) - 1))
    parts = draw(st.sampled_from([{}, {"scale": 1}, {"shift": 0}]))
    full = {word: np.full(net.shapes[x][axis], float(value)) for word, value in parts.items()}
    return [net.scale_shift(x, axis=axis, layer=draw(st.booleans()), **full)]


def _conv(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    shape = net.shapes[x]
    if len(shape) < 3 or shape[1] > 24:
        return _linear(net, x, draw)
    kernel = draw(st.sampled_from([1, 3]))
    padded = kernel == 3 and (draw(st.booleans()) or min(shape[2:]) < 3)
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if shape[1] % g == 0]))
    transposed = not draw(st.integers(0, 3))
    out = draw(st.sampled_from([4, 8]))
    if max(shape[2:]) > 12 and transposed:
        return []
    return [
        net.conv(x, out, kernel=kernel, groups=groups, padded=padded, transposed=transposed, bias=draw(st.booleans()))
    ]


def _linear(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    axis = draw(st.sampled_from([-1, -2] if len(net.shapes[x]) > 2 else [-1]))
    out = draw(st.sampled_from([1, 3, 4]))
    transposed = len(net.shapes[x]) > 2 and not draw(st.integers(0, 3))
    biases = [None, (out,), (1,), ()] if axis == -1 else [None, (out, 1), (1,), ()]
    alpha, beta = draw(st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)]))
    options = {"upright": draw(st.booleans()), "transposed": transposed, "alpha": alpha, "beta": beta}
    return [net.linear(x, out, axis=axis, bias=draw(st.sampled_from(biases)), **options)]


def _layer_norm(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    kind = draw(st.sampled_from(["layer_norm", "rms_norm"]))
    beta = kind == "layer_norm" and draw(st.booleans())
    return [net.layer_norm(x, rank=draw(st.integers(1, len(net.shapes[x]) - 1)), kind=kind, beta=beta)]


def _window(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    shape = net.shapes[x]
    if len(shape) < 3:
        return []
    kinds = ["PaddedPool", "GlobalAveragePool", "ReduceMean"]
    kinds += ["MaxPool", "MaxPool", "AveragePool"] if min(shape[2:]) > 1 else []
    kinds += ["Resize", "Pad"] if max(shape[2:]) < 8 else []
    kind = draw(st.sampled_from(kinds))
    return [{"Resize": net.resize, "Pad": net.pad}[kind](x) if kind in ("Resize", "Pad") else net.pool(x, kind)]


def _reshape(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    shape, sizes = net.shapes[x], net.sizes[x]
    kind = draw(st.sampled_from(["flatten", "units", "regroup", "squeeze"]))
    if kind == "flatten":
        return [net.flatten(x)]
    if kind == "squeeze":
        kept = [axis for axis in range(1, len(shape)) if shape[axis] > 1] or [1]
        return [net.reshape(x, tuple(shape[axis] for axis in kept), (sizes[0], *(sizes[axis] for axis in kept)))]
    if kind == "units":
        at = draw(st.integers(1, len(shape)))
        one = sizes[0].__class__()
        return [net.reshape(x, (*shape[1:at], 1, *shape[at:]), (*sizes[:at], one, *sizes[at:]))]
    if shape[1] % 2:
        return []
    halves = tuple(sizes[0].__class__(size) for size in (2, shape[1] // 2))
    return [net.reshape(x, (2, shape[1] // 2, *shape[2:]), (sizes[0], *halves, *sizes[2:]))]


def _shuffle(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    shape, sizes = net.shapes[x], net.sizes[x]
    if shape[1] % 2 or sizes[1].symbols:
        return []
    size = type(sizes[0])
    y = net.reshape(x, (2, shape[1] // 2, *shape[2:]), (sizes[0], size(2), size(shape[1] // 2), *sizes[2:]))
    y = net.transpose(y, 0, 2, 1, *range(3, len(shape) + 1))
    return [net.reshape(y, shape[1:], sizes)]


def _transpose(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    return [net.transpose(x, 0, *draw(st.permutations(range(1, len(net.shapes[x])))))]


def _split(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    axis = draw(st.integers(1, len(net.shapes[x]) - 1))
    size = net.shapes[x][axis]
    if size < 2:
        return []
    first = draw(st.integers(1, size - 1))
    parts = net.split(x, first, size - first, axis=axis)
    if draw(st.booleans()):
        parts = [_norm(net, parts[0], draw)[0], parts[1]]
    if draw(st.booleans()):
        return [net.concat(*draw(st.permutations(parts)), axis=axis)]
    return parts


def _concat(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    branches = [(_conv(net, x, draw) or [x])[0] for _ in range(2)]
    branches = [(_norm(net, each, draw)[0] if draw(st.booleans()) else each) for each in branches]
    left, right = (net.shapes[each] for each in branches)
    same = len(left) == len(right) and left[2:] == right[2:]
    return [net.concat(*branches)] if same else branches


def _add(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    """Of two linear branches, a branch and what it came from, or a branch and a constant."""
    y = (_conv(net, x, draw) or [x])[0]
    if draw(st.integers(0, 3)) == 0:
        y = net.pool(y, "PaddedPool") if len(net.shapes[y]) > 2 else y
    kind = draw(st.sampled_from(["twin", "skip", "constant", "narrow"]))
    shape = net.shapes[y]
    if kind == "twin":
        other = net.linear(y, shape[-1], bias=(shape[-1],))
    elif kind == "skip" and net.shapes[x] == shape:
        other = x
    elif kind == "narrow":
        other = net.constant(1, shape[1], *(1 for _ in shape[2:]))
    else:
        other = net.constant(*((2, *shape[1:]) if not net.dynamic else (1, shape[1], *(1 for _ in shape[2:]))))
    return [net.add(*draw(st.permutations([y, other])), signs=draw(st.sampled_from([(1, 1), (1, -1), (-1, 1)])))]


def _plain(net: GraphNet, x: str, draw: st.DrawFn) -> list[str]:
    return [net.through(x) if draw(st.integers(0, 2)) else net.relu(x)]


Step = Callable[[GraphNet, str, st.DrawFn], list[str]]
STEPS: tuple[Step, ...] = (
    *(_norm,) * 5,
    *(_conv,) * 3,
    *(_linear,) * 2,
    _scale_shift,
    _layer_norm,
    *(_window,) * 2,
    *(_reshape,) * 2,
    _shuffle,
    _transpose,
    *(_split,) * 2,
    *(_concat,) * 2,
    *(_add,) * 2,
    _plain,
)
